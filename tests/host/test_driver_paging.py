"""Drivers that lock their pageable sections or page themselves: driver/c/paging.c.

Source: WDK MmLockPagableDataSection, MmUnlockPagableImageSection, MmPageEntireDriver,
MmResetDriverPaging; bug check 0x1A reference (0x1010, 0x1234).
"""

from pathlib import Path

import pytest

from ntsim.errors import BugCheck
from ntsim.wdm import *

PAGING = Path(__file__).parents[2] / "driver/c/paging.sys"
LOCKED = ["section PAGEDATA", "locked: 8", "locked still: 9", "base: 1"]


def test_a_driver_locks_its_section_and_pages_itself(ntsim_machine) -> None:
    machine = ntsim_machine()
    driver = machine.load_driver(PAGING)
    assert machine.debug_output == [*LOCKED, "reset: 71", "unlocked: 10"]
    machine.unload_driver(driver)


def test_a_locked_section_is_there_at_dispatch_level_and_an_unlocked_one_is_not(
    ntsim_machine,
) -> None:
    machine = ntsim_machine(verifier="force-irql")
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(PAGING)
    assert machine.debug_output == [*LOCKED, "reset: 71"]
    assert (caught.value.code, *caught.value.parameters[1:3]) == (0xD1, DISPATCH_LEVEL, 0)
    found = machine.nt.describe_address(caught.value.parameters[3])
    assert found.startswith("paging!")


def test_a_driver_that_is_pageable_as_a_whole_is_not_there_at_dispatch_level(ntsim_machine) -> None:
    machine = ntsim_machine(verifier="force-irql")
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(PAGING, name="whole.sys")
    assert machine.debug_output == LOCKED
    assert (caught.value.code, caught.value.parameters[1]) == (0xD1, DISPATCH_LEVEL)
    assert caught.value.parameters[0] == caught.value.parameters[3], "its own code"


def test_unlocking_what_is_not_locked_is_0x1a(ntsim_machine) -> None:
    machine = ntsim_machine()
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(PAGING, name="whole.sys")
    assert (caught.value.code, caught.value.parameters[0]) == (0x1A, 0x1010)
    assert machine.debug_output == [*LOCKED, "whole: 71"]


@pytest.mark.parametrize(
    "lock", [MmLockPagableDataSection, MmLockPagableSectionByHandle, MmLockPagableCodeSection]
)
def test_there_is_no_section_in_pool(bugcheck_of, lock) -> None:
    stop = bugcheck_of(lambda: lock(ExAllocatePoolWithTag(NonPagedPoolNx, 64, 1)))
    assert (stop.code, stop.parameters[0]) == (0x1A, 0x1234)


def test_the_image_of_a_python_driver_is_one_section(value_of) -> None:
    def body() -> list[bool]:
        routine = body
        handle = MmLockPagableCodeSection(routine)
        MmLockPagableSectionByHandle(handle)
        MmUnlockPagableImageSection(handle)
        MmUnlockPagableImageSection(handle)
        base = MmPageEntireDriver(routine)
        MmResetDriverPaging(routine)
        return [handle == base, handle != 0]

    assert value_of(body) == [True, True]
