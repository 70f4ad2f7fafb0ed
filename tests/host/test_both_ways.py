"""One mistake, made by a driver in C and by the same driver in Python: the same bug check.

The drivers are driver/c/mistakes and driver/c/misuse, .sys and .py. A parameter is the same if it
is the same number or a place in the driver; what else may differ is in the tables, with the reason.
"""

from pathlib import Path
from typing import Any

import pytest

from driver.c import mistakes_ioctl, misuse_ioctl
from ntsim.errors import BugCheck
from ntsim.win32 import *

DRIVERS = Path(__file__).parents[2] / "driver/c"
CODES = {"mistakes": mistakes_ioctl.CODES, "misuse": misuse_ioctl.CODES}
CODE_ONLY = {1, 2, 3}  # 0xFC: C jumps, Python starts a thread there
STACK, FRAME = {3}, {2}  # parameter 3 is the stack pointer, parameter 2 holds a page frame's number

MISTAKES: dict[str, tuple[int, set[int]]] = {
    "raised_irql": (0x4A, set()),
    "touch_at_dispatch": (0xD1, set()),
    "invalid_address": (0x50, set()),
    "double_free": (0xC2, set()),
    "double_complete": (0x44, set()),
    "null_pointer": (0x3B, set()),
    "corrupt_list": (0x139, set()),
    "write_text": (0xBE, FRAME),
    "execute_data": (0xFC, CODE_ONLY),
    "deep_recursion": (0x7F, STACK),
    "assertion": (0x3B, set()),
    "privileged": (0x3B, set()),
    "critical_region": (0x1, set()),
    "forever_at_dispatch": (0x133, set()),
}
MISUSES: dict[str, tuple[int, set[int]]] = {
    "event_at_dispatch": (0xA, set()),
    "thread_null": (0x7E, set()),
    "timer_left_set": (0xD4, set()),
    "wait_in_dpc": (0xB8, set()),
    "dereferenced_twice": (0x18, set()),
    "no_stack_location": (0x35, set()),
    "pages_left_locked": (0x76, set()),
    "other_tag": (0xC2, set()),
    "pool_overrun": (0x19, set()),
    "mutex_not_owned": (0x3B, set()),
    "own_bugcheck": (0xE2, set()),
    "null_in_dpc": (0xD1, set()),
    "level_after_dpc": (0xC8, set()),
    "detach_unattached": (0x6, set()),
    "affinity_of_nobody": (0x3, set()),
    "cancel_routine_left": (0x48, set()),
    "resource_not_owned": (0xE3, set()),
    "mapping_unlocked": (0x1A, set()),
    "level_after_work": (0xE1, set()),
    "status_raised": (0x3B, set()),
    "status_raised_in_dpc": (0x1E, set()),
    "spin_lock_held": (0x4A, set()),
    "unlocked_twice": (0x4E, FRAME),
    "mutex_held_at_end": (0x4000_008A, set()),
    "region_not_left_at_end": (0x20, set()),
    "work_item_queued_twice": (0xE4, set()),
}
ALL = [
    (driver, name, *expected)
    for driver, table in (("mistakes", MISTAKES), ("misuse", MISUSES))
    for name, expected in table.items()
]


def stop(machine: Any, file: Path, code: int) -> tuple[int, list[int | str]]:
    """Code and parameters of the bug check that a request, or the unloading after it, ends in.

    An address in the driver is one word: where it is was decided by a compiler, or by ntsim.
    """

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
        found = stopped.parameters
        return stopped.code, ["driver" if start <= p < start + size else p for p in found]
    raise AssertionError("no bug check")


@pytest.mark.parametrize(("driver", "name", "code", "free"), ALL, ids=lambda value: str(value))
def test_a_mistake_in_c_and_in_python_is_one_bug_check(
    ntsim_machine, driver, name, code, free
) -> None:
    seen = []
    for kind in (".sys", ".py"):
        machine = ntsim_machine(processors=2)
        found, parameters = stop(machine, DRIVERS / (driver + kind), CODES[driver][name])
        seen.append((found, [p for i, p in enumerate(parameters, 1) if i not in free]))
    assert seen[0] == seen[1]
    assert seen[0][0] == code


def test_every_mistake_is_made_both_ways_but_one_that_python_cannot_make() -> None:
    assert set(MISTAKES) == set(mistakes_ioctl.CODES) - {"divide_by_zero"}
    assert set(MISUSES) == set(misuse_ioctl.CODES)
