"""Pages for an MDL, and stack traces.

Source: WDK MmAllocatePagesForMdl, MmAllocatePagesForMdlEx, MmFreePagesFromMdl; WDK
RtlCaptureStackBackTrace; ReactOS kmtests RtlStack.c.
"""

import pytest

from ntsim.wdm import *

MIB = 1 << 20


def physical(value: int):
    made = PHYSICAL_ADDRESS()
    made.QuadPart = value
    return made


def pages(mdl) -> list[int]:
    count = (MmGetMdlByteCount(mdl) + 0xFFF) >> 12
    return [cast(MmGetMdlPfnArray(mdl), ULONGLONG)[i] for i in range(count)]


def test_pages_are_zeroed_locked_and_mapped_by_the_caller(value_of) -> None:
    def body() -> list:
        mdl = MmAllocatePagesForMdl(physical(0), physical(MAXULONG64 >> 1), physical(0), 0x3000)
        flags = mdl.MdlFlags & (MDL_PAGES_LOCKED | MDL_MAPPED_TO_SYSTEM_VA)
        where = MmMapLockedPagesSpecifyCache(mdl, KernelMode, MmCached, NULL, FALSE, 0)
        zero = [cast(int(where) + 0x1000 * i, ULONGLONG)[0] for i in range(3)]
        same = MmGetPhysicalAddress(where).QuadPart >> 12 == pages(mdl)[0]
        count = MmGetMdlByteCount(mdl)
        MmUnmapLockedPages(where, mdl)
        MmFreePagesFromMdl(mdl)
        after = mdl.MdlFlags & MDL_PAGES_LOCKED
        ExFreePool(mdl)
        return [flags == MDL_PAGES_LOCKED, zero, same, count, after]

    assert value_of(body) == [True, [0, 0, 0], True, 0x3000, 0]


def test_pages_come_from_the_range_and_go_back(run_driver) -> None:
    def body() -> list:
        mdl = MmAllocatePagesForMdl(physical(4 * MIB), physical(5 * MIB - 1), physical(0), 0x8000)
        frames = pages(mdl)
        MmFreePagesFromMdl(mdl)
        ExFreePool(mdl)
        again = MmAllocatePagesForMdl(physical(4 * MIB), physical(5 * MIB - 1), physical(0), MIB)
        return [min(frames) >= 0x400, max(frames) < 0x500, len(set(frames)), len(pages(again)) > 8]

    assert run_driver(body).value == [True, True, 8, True]


def test_fewer_pages_than_asked_for_or_none(value_of) -> None:
    """WDK: the MDL says how many; NULL if there are none, or fully required and not there."""

    def body() -> list:
        low, high, none = physical(4 * MIB), physical(4 * MIB + 0xFFFF), physical(0)
        some = MmAllocatePagesForMdl(low, high, none, MIB)
        some_pages = len(pages(some))
        rest = MmAllocatePagesForMdl(low, high, none, MIB)
        MmFreePagesFromMdl(some)
        whole = MmAllocatePagesForMdlEx(low, high, none, MIB, MmCached, 4)
        return [0 < some_pages <= 16, int(rest), int(whole)]

    assert value_of(body) == [True, 0, 0]


@pytest.mark.parametrize("skip", [0, 1])
def test_a_stack_trace_begins_with_the_caller(run_driver, skip: int) -> None:
    def body() -> list:
        def inner() -> tuple:
            array, total = (PVOID * 16)(), ULONG()
            count = RtlCaptureStackBackTrace(skip, 16, array, total)
            found = [int(array[i]) for i in range(count)]
            other = (PVOID * 16)()
            walked = RtlWalkFrameChain(other, 2, 0)
            return (
                found,
                total[0] == sum(found) & 0xFFFFFFFF,
                walked,
                RtlWalkFrameChain(other, 9, 1),
            )

        return inner()

    outcome = run_driver(body)
    found, right, walked, user = outcome.value
    image = outcome.machine.nt.images.at(found[0])
    assert image is not None
    assert right
    assert (walked, user) == (2, 0)
    names = [outcome.machine.nt.describe_address(address) for address in found]
    assert ("inner" in names[0]) == (skip == 0)
    assert any(name.startswith("nt!") for name in names)


def test_more_than_there_is_leaves_room_for_the_mdl(value_of) -> None:
    """Source: ReactOS kmtests MmMdl.c: 2 GB are asked for, and less is given."""

    def body() -> list:
        none = physical(0)
        mdl = MmAllocatePagesForMdl(none, physical(MAXULONG64 >> 1), none, 2 << 30)
        got = MmGetMdlByteCount(mdl)
        where = MmMapLockedPagesSpecifyCache(mdl, KernelMode, MmCached, NULL, FALSE, 0)
        MmFreePagesFromMdl(mdl)
        ExFreePool(mdl)
        return [MIB < got < 2 << 30, where]

    assert value_of(body) == [True, 0]


def test_a_walk_that_cannot_store_finds_nothing(value_of) -> None:
    """Source: ReactOS kmtests RtlStack.c."""

    def body() -> list:
        value = ULONG()
        value[0] = 7
        frames = cast(ExAllocatePoolWithTag(NonPagedPoolNx, 8, 1), ULONGLONG)
        none = RtlCaptureStackBackTrace(0, 0, frames, value)
        return [RtlWalkFrameChain(NULL, 5, 0), none, value[0]]

    assert value_of(body) == [0, 0, 7]
