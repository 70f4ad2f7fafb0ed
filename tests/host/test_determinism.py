"""Same seed, same run: also in other processes, under other hash seeds, on 1 to 64 processors."""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from ntsim.errors import ConfigurationError, ScheduleError
from ntsim.hw.engine import hostcode
from ntsim.wdm import *

ROOT = Path(__file__).resolve().parents[2]


def large(value: int):
    made = LARGE_INTEGER()
    made.QuadPart = value
    return made


def everything(DriverObject, RegistryPath) -> int:
    """Threads, locks, DPCs, timers, waits, broadcasts, pools: what a run can depend on."""
    processors = KeQueryActiveProcessorCount(NULL)
    lock, done, mutex = KSPIN_LOCK(), KSEMAPHORE(), KMUTEX()
    KeInitializeSemaphore(done, 0, 100)
    KeInitializeMutex(mutex, 0)

    def worker(number) -> None:
        for turn in range(3):
            OldIrql = KeAcquireSpinLock(lock)
            DbgPrint("worker %u turn %u on %u\n", number, turn, KeGetCurrentProcessorNumber())
            KeReleaseSpinLock(lock, OldIrql)
            KeWaitForSingleObject(mutex, Executive, KernelMode, FALSE, NULL)
            block = ExAllocatePoolWithTag(NonPagedPoolNx, 5000, 0x41414141)
            DbgPrint("%p %I64x\n", block, MmGetPhysicalAddress(block + 4096))
            ExFreePoolWithTag(block, 0x41414141)
            KeReleaseMutex(mutex, FALSE)
            KeDelayExecutionThread(KernelMode, FALSE, large(-1000 * (number + 1)))
        KeReleaseSemaphore(done, 0, 1, FALSE)

    for number in range(5):
        PsCreateSystemThread(0, NULL, NULL, NULL, worker, number)
    timer, dpc = KTIMER(), KDPC()
    KeInitializeTimer(timer)
    KeInitializeDpc(dpc, lambda *_: DbgPrint("dpc %u\n", KeGetCurrentProcessorNumber()), NULL)
    KeSetTargetProcessorDpc(dpc, processors - 1)
    KeSetTimerEx(timer, large(-5000), 1, dpc)
    for _ in range(5):
        KeWaitForSingleObject(done, Executive, KernelMode, FALSE, NULL)
    KeIpiGenericCall(lambda argument: DbgPrint("ipi %u\n", KeGetCurrentProcessorNumber()) * 0, 0)
    KeCancelTimer(timer)
    KeFlushQueuedDpcs()
    return STATUS_SUCCESS


@pytest.fixture
def log(ntsim_machine):
    """The event log of a run of `everything`, one line each."""

    def run(**options) -> str:
        machine = ntsim_machine(**options)
        machine.load_driver(everything, name="drv.sys")
        return "\n".join(str(event) for event in machine.events)

    return run


@pytest.mark.parametrize("processors", [1, 2, 8, 64])
def test_the_same_seed_gives_the_same_event_log(log, processors: int) -> None:
    first = log(processors=processors, seed=7)
    assert len(first.splitlines()) > 50
    assert log(processors=processors, seed=7) == first


def test_round_robin_gives_the_same_event_log(log) -> None:
    assert log(processors=4) == log(processors=4)


def test_different_seeds_give_different_event_logs(log) -> None:
    assert len({log(processors=4, seed=seed) for seed in range(4)}) == 4


def test_what_other_machines_did_before_makes_no_difference(log, ntsim_machine) -> None:
    first = log(processors=2, seed=3)
    ntsim_machine(processors=5).load_driver(lambda d, r: 0, name="other.sys")
    assert log(processors=2, seed=3) == first


IN_A_PROCESS = """
import hashlib, sys
sys.path.insert(0, {tests!r})
import test_determinism
from ntsim.machine import Machine
machine = Machine(processors=4, seed=11)
machine.load_driver(test_determinism.everything, name="drv.sys")
log = "\\n".join(map(str, machine.events)) + "\\n".join(machine.debug_output)
print(len(machine.events), hashlib.sha256(log.encode()).hexdigest())
"""


def test_other_processes_with_other_hash_seeds_write_the_same_bytes() -> None:
    code = IN_A_PROCESS.format(tests=str(Path(__file__).parent))
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("0", "4242")
    ]
    outputs = {process.communicate(timeout=60)[0] for process in running}
    assert len(outputs) == 1
    assert int(outputs.pop().split()[0]) > 50


# Schedules


def test_a_schedule_replays_the_run(ntsim_machine, log) -> None:
    machine = ntsim_machine(processors=3, seed=21)
    machine.load_driver(everything, name="drv.sys")
    first = "\n".join(str(event) for event in machine.events)
    assert log(schedule=machine.schedule) == first


def test_a_departure_changes_who_runs(log) -> None:
    plain, other = log(schedule="1.rr.0.2"), log(schedule="1.rr.0.2.5@0x3,9@0x2")
    assert plain != other
    assert other == log(schedule="1.rr.0.2.5@0x3,9@0x2")


def test_a_departure_to_an_idle_processor_says_that_the_run_has_changed(log) -> None:
    with pytest.raises(ScheduleError, match="changed since it was recorded"):
        log(schedule="1.rr.0.64.90@63x5")


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        ("", "malformed"),
        ("rr.0.2", "malformed"),
        ("1.rr.0", "malformed"),
        ("9.rr.0.2", "version 9"),
        ("1.pct.0.2", "unknown strategy"),
        ("1.rr.0.0", "1 to 64"),
        ("1.rr.0.65", "1 to 64"),
        ("1.rr.0.2.1@2x1", "no such turn"),
        ("1.rr.0.2.1@1x0", "no such turn"),
    ],
)
def test_a_schedule_that_cannot_be_is_told_why(ntsim_machine, schedule: str, text: str) -> None:
    with pytest.raises(ScheduleError, match=text):
        ntsim_machine(schedule=schedule)


@pytest.mark.parametrize(
    "options", [{"processors": 2}, {"seed": 5}, {"strategy": "random"}], ids=str
)
def test_an_argument_that_contradicts_the_schedule_is_refused(ntsim_machine, options) -> None:
    with pytest.raises(ScheduleError, match="was recorded with"):
        ntsim_machine(schedule="1.rr.0.3", **options)


@pytest.mark.parametrize(
    "options",
    [
        {"processors": 0},
        {"processors": 65},
        {"processors": 2.0},
        {"processors": True},
        {"seed": -1},
        {"seed": "7"},
        {"strategy": "fastest"},
        {"memory_mb": 8},
        {"memory_mb": 20, "processors": 64},
        {"memory_mb": "64"},
        {"cpu": "486"},
    ],
    ids=str,
)
def test_an_option_that_cannot_be_is_the_callers_error(ntsim_machine, options) -> None:
    with pytest.raises(ConfigurationError):
        ntsim_machine(**options)


@pytest.mark.parametrize("seed", [1, 2])
def test_compiled_code_runs_alike_however_instructions_are_counted(ntsim_machine, seed) -> None:
    """By blocks where the host allows machine code of ours, in the engine's library elsewhere."""
    races = []
    for mode in (nullcontext(), hostcode.forbidden()):
        with mode:
            machine = ntsim_machine(seed=seed)
            machine.load_driver(ROOT / "driver/c/race.sys")
        races.append((machine.debug_output, machine.nt.clock.now, list(map(str, machine.events))))
        machine.close()
    assert races[0] == races[1]
    assert len(races[0][2]) > 10
