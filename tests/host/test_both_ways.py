"""One mistake, made by a driver in C and by the same driver in Python: the same bug check.

The drivers are driver/c/mistakes and driver/c/misuse, .sys and .py. A parameter is the same if it
is the same number or a place in the driver. Where memory was given out in another order, or a
compiler made frames of another size, the tables say what of a parameter is compared.
"""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from driver.c import mistakes_ioctl, misuse_ioctl
from ntsim.abi.ke import KTRAP_FRAME
from ntsim.errors import BugCheck
from ntsim.hw.engine import hostcode
from ntsim.hw.paging import PTE_ACCESSED, PTE_DIRTY, PTE_FRAME, PTE_WRITE
from ntsim.hw.ram import PAGE_SIZE
from ntsim.win32 import *

DRIVERS = Path(__file__).parents[2] / "driver/c"
CODES = {"mistakes": mistakes_ioctl.CODES, "misuse": misuse_ioctl.CODES}
Compared = dict[int, Callable[[int], object]]
"""What of a parameter is compared, by its number."""


def entry(parameter: int) -> int:
    """A page-table entry without its frame, and without A, D and W, which a compiler decides."""
    return parameter & ~(PTE_FRAME | PTE_ACCESSED | PTE_DIRTY | PTE_WRITE)


def page(parameter: int) -> int:
    return parameter & -PAGE_SIZE


def on_stack(parameter: int) -> int:
    """A trap frame: the kernel's stacks lie in one region, frames of C and of Python differ."""
    return parameter >> 24


def frame_number(parameter: int) -> bool:
    return 0 < parameter * PAGE_SIZE < 1 << 32


PROTECTION: Compared = {2: entry, 3: on_stack}
STACK: Compared = {3: page}
FRAME: Compared = {2: frame_number}

MISTAKES: dict[str, tuple[int, Compared]] = {
    "raised_irql": (0x4A, {}),
    "touch_at_dispatch": (0xD1, {}),
    "invalid_address": (0x50, {}),
    "double_free": (0xC2, {}),
    "double_complete": (0x44, {}),
    "null_pointer": (0x3B, {}),
    "corrupt_list": (0x139, {}),
    "write_text": (0xBE, PROTECTION),
    "execute_data": (0xFC, PROTECTION),
    "deep_recursion": (0x7F, STACK),
    "assertion": (0x3B, {}),
    "privileged": (0x3B, {}),
    "critical_region": (0x1, {}),
    "forever_at_dispatch": (0x133, {}),
}
MISUSES: dict[str, tuple[int, Compared]] = {
    "event_at_dispatch": (0xA, {}),
    "thread_null": (0x7E, {}),
    "timer_left_set": (0xD4, {}),
    "wait_in_dpc": (0xB8, {}),
    "dereferenced_twice": (0x18, {}),
    "no_stack_location": (0x35, {}),
    "pages_left_locked": (0x76, {}),
    "other_tag": (0xC2, {}),
    "pool_overrun": (0x19, {}),
    "mutex_not_owned": (0x3B, {}),
    "own_bugcheck": (0xE2, {}),
    "null_in_dpc": (0xD1, {}),
    "level_after_dpc": (0xC8, {}),
    "detach_unattached": (0x6, {}),
    "affinity_of_nobody": (0x3, {}),
    "cancel_routine_left": (0x48, {}),
    "resource_not_owned": (0xE3, {}),
    "mapping_unlocked": (0x1A, {}),
    "level_after_work": (0xE1, {}),
    "status_raised": (0x3B, {}),
    "status_raised_in_dpc": (0x1E, {}),
    "spin_lock_held": (0x4A, {}),
    "unlocked_twice": (0x4E, FRAME),
    "mutex_held_at_end": (0x4000_008A, {}),
    "region_not_left_at_end": (0x20, {}),
    "work_item_queued_twice": (0xE4, {}),
    "thread_left_running": (0xCE, {}),
    "thread_in_data": (0xFC, PROTECTION),
}
ALL = [
    (driver, name, *expected)
    for driver, table in (("mistakes", MISTAKES), ("misuse", MISUSES))
    for name, expected in table.items()
]


def stop(machine: Any, file: Path, code: int) -> tuple[int, list[int], range]:
    """The bug check that a request, or the unloading after it, ends in: code, parameters, and
    where the driver is."""

    def app() -> None:
        access, name = GENERIC_READ | GENERIC_WRITE, file.stem.capitalize()
        handle = CreateFile(f"\\\\.\\{name}", access, 0, None, OPEN_EXISTING, 0, None)
        DeviceIoControl(handle, code, None, 16)

    driver = machine.load_driver(file)
    start, size = int(driver.object.DriverStart), int(driver.object.DriverSize)
    try:
        assert machine.run(app).stderr == ""
        machine.unload_driver(driver)
        machine.run_until_idle()
    except BugCheck as stopped:
        return stopped.code, list(stopped.parameters), range(start, start + size)
    raise AssertionError("no bug check")


def compared(parameters: list[int], driver: range, rules: Compared) -> list[object]:
    """An address in the driver is one word: where it is was decided by a compiler, or by ntsim."""

    def whole(value: int) -> object:
        return "driver" if value in driver else value

    return [rules.get(number, whole)(value) for number, value in enumerate(parameters, 1)]


@pytest.mark.parametrize(("driver", "name", "code", "rules"), ALL, ids=[each[1] for each in ALL])
def test_a_mistake_in_c_and_in_python_is_one_bug_check(
    ntsim_machine, driver, name, code, rules
) -> None:
    seen = []
    for kind in (".sys", ".py"):
        machine = ntsim_machine(processors=2)
        found, parameters, place = stop(machine, DRIVERS / (driver + kind), CODES[driver][name])
        seen.append((found, compared(parameters, place, rules)))
    assert seen[0] == seen[1]
    assert seen[0][0] == code


@pytest.mark.parametrize(("driver", "name"), [each[:2] for each in ALL], ids=lambda each: each)
def test_a_mistake_ends_alike_on_hosts_that_allow_no_machine_code_of_ours(
    ntsim_machine, driver, name
) -> None:
    """Not only the bug check with its parameters: every event before it, at the same time."""
    seen = []
    for mode in (nullcontext(), hostcode.forbidden()):
        with mode:
            machine = ntsim_machine(processors=2)
            found = stop(machine, DRIVERS / f"{driver}.sys", CODES[driver][name])
        seen.append((found, machine.nt.clock.now, list(map(str, machine.events))))
        machine.close()
    assert seen[0] == seen[1]


@pytest.mark.parametrize("kind", [".sys", ".py"])
@pytest.mark.parametrize(("name", "fetch"), [("execute_data", 1), ("write_text", 0)])
def test_parameter_3_of_a_protection_fault_is_its_trap_frame(
    ntsim_machine, kind, name, fetch
) -> None:
    machine = ntsim_machine()
    _, parameters, driver = stop(machine, DRIVERS / f"mistakes{kind}", CODES["mistakes"][name])
    frame = KTRAP_FRAME.at(machine.nt.mmu, parameters[2])
    assert frame.FaultAddress == parameters[0]
    assert (frame.ErrorCode >> 4 & 1, frame.ErrorCode >> 1 & 1) == (fetch, 1 - fetch)
    assert frame.Rip == parameters[0] if fetch else frame.Rip in driver


def test_every_mistake_is_made_both_ways_but_one_that_python_cannot_make() -> None:
    assert set(MISTAKES) == set(mistakes_ioctl.CODES) - {"divide_by_zero"}
    assert set(MISUSES) == set(misuse_ioctl.CODES)
