"""Processors that take no interrupts for too long: 0x133, 0x101, or nothing that could notice."""

import struct
from typing import Any

import pytest

from ntsim.abi.ke import KPRCB
from ntsim.errors import BugCheck, Hang
from ntsim.intrin import *
from ntsim.wdm import *


def spin_for_ever() -> None:
    while True:
        KeGetCurrentIrql()


@pytest.mark.parametrize(("processors", "level"), [(1, DISPATCH_LEVEL), (4, 5)])
def test_staying_at_dispatch_level_bugchecks_0x133_with_the_cumulative_limit(
    bugcheck_of, processors: int, level: int
) -> None:
    def body() -> None:
        KfRaiseIrql(level)
        spin_for_ever()

    stop = bugcheck_of(body, processors=processors)
    assert (stop.code, stop.parameters[:2], stop.parameters[3]) == (0x133, (1, 0x1E00), 0)


def test_a_dpc_that_does_not_end_bugchecks_0x133_with_the_single_limit(bugcheck_of) -> None:
    def body() -> None:
        dpc = KDPC()
        KeInitializeDpc(dpc, lambda *_: spin_for_ever(), NULL)
        KeInsertQueueDpc(dpc, NULL, NULL)

    stop = bugcheck_of(body, processors=2)
    assert (stop.code, stop.parameters[0], stop.parameters[2]) == (0x133, 0, 0x500)
    assert stop.parameters[1] > 0x500


def test_0x133_points_to_a_triage_block_that_leads_to_the_prcb_field(ntsim_machine) -> None:
    """Layout: public symbols of Windows 10 (nt!DPC_WATCHDOG_GLOBAL_TRIAGE_BLOCK)."""

    def DriverEntry(DriverObject: Any, RegistryPath: Any) -> None:
        KfRaiseIrql(DISPATCH_LEVEL)
        spin_for_ever()

    machine = ntsim_machine()
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(DriverEntry)
    raw = machine.nt.mmu.read(caught.value.parameters[2], 16)
    signature, revision, size, offset, length = struct.unpack("<IHHH2xI", raw)
    assert (signature, revision, size, length) == (0xAEBECEDE, 1, 16, 0)
    assert offset == KPRCB.offset_of("DpcWatchdogProfile")


def test_timers_of_other_processors_do_not_put_the_watchdog_off(bugcheck_of) -> None:
    """Their work shows that time passes, not that the spinning processor gets on."""

    def body() -> None:
        timer, dpc, due = KTIMER(), KDPC(), LARGE_INTEGER()
        due.QuadPart = -10_000
        KeInitializeTimer(timer)
        KeInitializeDpc(dpc, lambda *_: None, NULL)
        KeSetSystemAffinityThread(1 << 1)
        KeSetTimerEx(timer, due, 50, dpc)
        KeSetSystemAffinityThread(1 << 0)
        KfRaiseIrql(DISPATCH_LEVEL)
        spin_for_ever()

    assert bugcheck_of(body, processors=2).code == 0x133


def test_many_short_dpcs_are_not_a_long_one(run_driver) -> None:
    def body() -> None:
        dpc = KDPC()
        KeInitializeDpc(dpc, lambda *_: KeStallExecutionProcessor(1_000), NULL)
        for _ in range(20):
            KeInsertQueueDpc(dpc, NULL, NULL)
            KeFlushQueuedDpcs()

    run_driver(body, processors=1)


@pytest.mark.parametrize("level", [CLOCK_LEVEL, HIGH_LEVEL])
def test_a_processor_above_clock_level_bugchecks_0x101_raised_by_another(
    bugcheck_of, level: int
) -> None:
    def body() -> None:
        KeSetSystemAffinityThread(1 << 2)
        KfRaiseIrql(level)
        spin_for_ever()

    stop = bugcheck_of(body, processors=4)
    assert stop.code == 0x101
    assert stop.processor != 2
    assert stop.parameters[1] == 0
    assert stop.parameters[3] == 2


def test_parameter_3_of_0x101_is_the_silent_processors_prcb(ntsim_machine) -> None:
    machine = ntsim_machine(processors=2)

    def DriverEntry(DriverObject, RegistryPath) -> None:
        KeSetSystemAffinityThread(1 << 1)
        _disable()
        spin_for_ever()

    with pytest.raises(BugCheck) as caught:
        machine.load_driver(DriverEntry, name="drv.sys")
    stop = caught.value
    assert (stop.code, stop.processor) == (0x101, 0)
    assert stop.parameters[2:] == (int(machine.nt.prcb[1]), 1)


def test_interrupts_off_on_the_only_processor_is_a_hang(run_driver) -> None:
    def body() -> None:
        _disable()
        spin_for_ever()

    with pytest.raises(Hang):
        run_driver(body, processors=1)


def test_a_halt_with_interrupts_off_is_noticed(run_driver) -> None:
    def body() -> None:
        _disable()
        __halt()

    with pytest.raises((Hang, BugCheck)) as caught:
        run_driver(body, processors=1)
    assert isinstance(caught.value, Hang)


def test_the_clock_ends_a_halt_with_interrupts_on(value_of) -> None:
    def body() -> bool:
        before = KeQueryInterruptTime()
        __halt()
        return 0 < KeQueryInterruptTime() - before <= 156_250

    assert value_of(body, processors=2)


def test_halting_for_ever_is_a_hang(run_driver) -> None:
    def body() -> None:
        while True:
            __halt()

    with pytest.raises(Hang):
        run_driver(body, processors=1)


def test_a_timer_of_a_processor_halted_for_good_does_not_keep_the_run_going(run_driver) -> None:
    def body() -> None:
        timer, due = KTIMER(), LARGE_INTEGER()
        due.QuadPart = -1000
        KeInitializeTimer(timer)
        KeSetTimer(timer, due, NULL)
        _disable()
        __halt()

    with pytest.raises(Hang):
        run_driver(body, processors=1)


def test_timers_of_other_processors_expire_while_one_is_halted_for_good(value_of) -> None:
    def body() -> list[int]:
        def stop_processor_1(Context) -> None:
            timer, due = KTIMER(), LARGE_INTEGER()
            due.QuadPart = -1000
            KeSetSystemAffinityThread(1 << 1)
            KeInitializeTimer(timer)
            KeSetTimer(timer, due, NULL)
            _disable()
            __halt()

        interval = LARGE_INTEGER()
        interval.QuadPart = -5000
        KeSetSystemAffinityThread(1 << 0)
        PsCreateSystemThread(0, NULL, NULL, NULL, stop_processor_1, NULL)
        return [KeDelayExecutionThread(KernelMode, FALSE, interval) for _ in range(2)]

    assert value_of(body, processors=2) == [0, 0]


def test_spinning_at_passive_level_for_ever_is_a_hang(run_driver) -> None:
    with pytest.raises(Hang, match="no processor has made progress"):
        run_driver(spin_for_ever, processors=2)


def test_waiting_at_passive_level_for_another_processor_is_no_hang(value_of) -> None:
    def body() -> int:
        flag = LONG()
        PsCreateSystemThread(0, NULL, NULL, NULL, lambda c: flag.__setitem__(0, 1), NULL)
        while not flag[0]:
            YieldProcessor()
        return flag[0]

    assert value_of(body, processors=2) == 1


def test_the_only_processor_preempts_a_spinning_thread_at_the_end_of_its_quantum(
    value_of,
) -> None:
    def body() -> int:
        flag = LONG()
        PsCreateSystemThread(0, NULL, NULL, NULL, lambda c: flag.__setitem__(0, 1), NULL)
        while not flag[0]:
            YieldProcessor()
        return flag[0]

    assert value_of(body, processors=1) == 1
