"""The public Machine: its arguments, and what it is after a crash."""

import gc
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import ntsim
from ntsim.wdm import *
from ntsim.win32 import Sleep

REPOSITORY = Path(__file__).resolve().parents[1]
HELLO = REPOSITORY / "driver" / "hello.py"


def crash(DriverObject: Any, RegistryPath: Any) -> None:
    KeBugCheckEx(0xE2, 1, 2, 3, 4)


@pytest.mark.parametrize(
    "arguments",
    [
        {"processors": 4},
        {"processors": 3},
        {"seed": 0},
        {"seed": 6},
        {"strategy": "rr"},
    ],
)
def test_an_argument_that_contradicts_the_schedule_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ntsim.ScheduleError):
        ntsim.Machine(schedule="1.random.5.2", **arguments)


def test_arguments_that_agree_with_the_schedule_are_accepted() -> None:
    with ntsim.Machine(schedule="1.random.5.2", processors=2, seed=5, strategy="random") as machine:
        assert (machine.processors, machine.seed) == (2, 5)


@pytest.mark.parametrize("arguments", [{"cpu": 3}, {"cpu": None}, {"memory_mb": 1}, {"seed": "1"}])
def test_impossible_arguments_say_what_is_needed(arguments: dict[str, Any]) -> None:
    with pytest.raises(ntsim.ConfigurationError):
        ntsim.Machine(**arguments)


def test_a_schedule_is_a_string() -> None:
    with pytest.raises(ntsim.ScheduleError):
        ntsim.Machine(schedule=5)  # type: ignore[arg-type]


def test_after_a_bug_check_everything_that_runs_code_raises_that_very_bug_check() -> None:
    with ntsim.Machine() as machine:
        driver = machine.load_driver(HELLO)
        with pytest.raises(ntsim.BugCheck) as caught:
            machine.load_driver(crash)
        assert machine.bugcheck is caught.value
        for again in (
            lambda: machine.load_driver(HELLO),
            lambda: machine.unload_driver(driver),
            lambda: machine.start(print),
            lambda: machine.run(print),
            machine.run_until_idle,
        ):
            with pytest.raises(ntsim.BugCheck) as raised:
                again()
            assert raised.value is caught.value
    assert machine.bugcheck is caught.value


def test_only_a_loaded_driver_can_be_unloaded() -> None:
    with ntsim.Machine() as machine, ntsim.Machine() as other:
        driver = machine.load_driver(HELLO)
        for stranger in ("hello", None, other.load_driver(HELLO)):
            with pytest.raises(ntsim.ConfigurationError):
                machine.unload_driver(stranger)  # type: ignore[arg-type]
        machine.unload_driver(driver)
        with pytest.raises(ntsim.ConfigurationError):
            machine.unload_driver(driver)
        assert machine.bugcheck is None


def test_an_apps_arguments_are_a_tuple() -> None:
    with ntsim.Machine() as machine, pytest.raises(ntsim.ConfigurationError):
        machine.run(print, args="abc")


@pytest.mark.parametrize(
    ("name", "image", "driver_object"),
    [
        (None, "hello.sys", "\\Driver\\hello"),
        ("other", "other.sys", "\\Driver\\other"),
        ("other.sys", "other.sys", "\\Driver\\other"),
        ("my.filter.sys", "my.filter.sys", "\\Driver\\my.filter"),
    ],
)
def test_a_driver_has_the_image_name_it_is_given(
    name: str | None, image: str, driver_object: str
) -> None:
    with ntsim.Machine() as machine:
        driver = machine.load_driver(HELLO, name=name)
        assert (driver.image.file_name, driver.name) == (image, driver_object)


@pytest.mark.parametrize("name", ["", ".sys", "a/b.sys", "a\\b", "what?", 3])
def test_a_name_that_no_image_can_have_is_refused(name: Any) -> None:
    with ntsim.Machine() as machine, pytest.raises(ntsim.ConfigurationError):
        machine.load_driver(HELLO, name=name)


FOREVER = """
from ntsim.wdm import *

def DriverEntry(DriverObject, RegistryPath):
    Event = KEVENT()
    KeInitializeEvent(Event, NotificationEvent, FALSE)
    KeWaitForSingleObject(Event, Executive, KernelMode, FALSE, None)
"""


@pytest.mark.parametrize("ending", ["nothing", "bug check", "hang", "unmodelled"])
def test_a_machine_that_nobody_has_any_more_closes_itself(tmp_path: Path, ending: str) -> None:
    """Its suspended stacks would keep its RAM, and two file descriptors, for ever."""
    machine = ntsim.Machine()
    machine.load_driver(HELLO)
    forever = tmp_path / "forever.py"
    forever.write_text(FOREVER)
    entries: dict[str, Any] = {
        "bug check": crash,
        "hang": forever,
        "unmodelled": unmodelled,
    }
    if ending != "nothing":
        with pytest.raises(ntsim.Error):
            machine.load_driver(entries[ending])
    kernel = machine.nt
    del machine
    gc.collect()
    assert kernel.il.closed


def spin(tmp_path: Path) -> Path:
    driver = tmp_path / "spin.py"
    driver.write_text("def DriverEntry(DriverObject, RegistryPath):\n    while True: pass\n")
    return driver


def unmodelled(DriverObject: Any, RegistryPath: Any) -> None:
    HalDmaAllocateCrashDumpRegistersEx()


@pytest.mark.parametrize("kind", [ntsim.Hang, ntsim.UnmodelledRoutine])
def test_what_ended_a_run_is_raised_again(kind: type[Exception], tmp_path: Path) -> None:
    with ntsim.Machine() as machine:
        with pytest.raises(kind) as first:
            machine.load_driver(spin(tmp_path) if kind is ntsim.Hang else unmodelled)
        for _ in range(2):
            with pytest.raises(kind) as again:
                machine.run_until_idle()
            assert again.value is first.value


def test_an_idle_machine_with_a_waiting_app_goes_on() -> None:
    with ntsim.Machine() as machine:
        with pytest.raises(ntsim.Hang) as hang:
            machine.run(lambda: Sleep(0xFFFF_FFFF))
        assert "waits for" in hang.value.waits[0]
        assert machine.run(lambda: 3).exit_code == 3


TICKING = """
from ntsim.wdm import *

Timer, Dpc, Count = KTIMER(), KDPC(), LONG()

def tick(Dpc, Context, Argument1, Argument2):
    Count[0] += 1
    if Count[0] == 100:
        DbgPrint("100 ticks")

def DriverEntry(DriverObject, RegistryPath):
    KeInitializeTimer(Timer)
    KeInitializeDpc(Dpc, tick, NULL)
    Due = LARGE_INTEGER()
    Due.QuadPart = -100 * 10_000
    KeSetTimerEx(Timer, Due, 100, Dpc)
    return STATUS_SUCCESS
"""


def test_a_driver_that_never_rests_does_not_keep_the_machine_from_being_idle(
    tmp_path: Path,
) -> None:
    driver = tmp_path / "ticking.py"
    driver.write_text(TICKING)
    with ntsim.Machine(processors=1) as machine:
        machine.load_driver(driver)
        process = machine.start(lambda: Sleep(3_600_000))
        machine.run_until_idle()
        assert process.exit_code == 0
        assert machine.debug_output == ["100 ticks"]


def test_machines_on_several_threads_leave_the_host_as_it_was() -> None:
    before = sys.stdout, sys.stderr, time.sleep, random.random, threading.Thread.start
    printed: list[str] = []

    def work(number: int) -> None:
        for _ in range(5):
            with ntsim.Machine(processors=1) as machine:
                machine.load_driver(HELLO)
                printed.append(machine.run(lambda: print(number)).stdout)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(printed) == sorted(f"{number}\n" for number in range(3) for _ in range(5))
    assert (sys.stdout, sys.stderr, time.sleep, random.random, threading.Thread.start) == before
