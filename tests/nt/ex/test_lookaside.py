"""Look-aside lists: what they keep and when they ask the pool.

Source: WDK "Using Lookaside Lists"; Wine ntoskrnl tests test_lookaside_list (fact F078).
"""

import pytest

from ntsim.wdm import *

TAG = 0x454E4957
NX = 0x200


def large(kind):
    """Storage of a list in nonpaged pool, aligned to 16 bytes."""
    return ExAllocatePoolWithTag(NonPagedPoolNx, kind.size, TAG)


def new_list(flags: int = NX, size: int = 64, allocate=NULL, free=NULL, depth: int = 0):
    made = cast(large(NPAGED_LOOKASIDE_LIST), PNPAGED_LOOKASIDE_LIST)
    ExInitializeNPagedLookasideList(made, allocate, free, flags, size, TAG, depth)
    return made


@pytest.mark.parametrize(("flags", "depth"), [(NX, 0), (0, 20), (0x10, 0)])
def test_a_new_list_has_the_fields_that_wine_found(value_of, flags: int, depth: int) -> None:
    def body() -> list:
        made = new_list(flags, 8, depth=depth)
        names = (
            "Depth", "MaximumDepth", "TotalAllocates", "AllocateMisses", "TotalFrees",
            "FreeMisses", "Type", "Tag", "Size", "LastTotalAllocates", "LastAllocateMisses",
        )  # fmt: skip
        found = [getattr(made.L, name) for name in names]
        linked = made.L.ListEntry.Flink.Blink == made.L.ListEntry
        ExDeleteNPagedLookasideList(made)
        return [*found, linked]

    assert value_of(body) == [4, 256, 0, 0, 0, 0, flags, TAG, 8, 0, 0, True]


def test_entries_are_kept_up_to_the_depth_and_reused_last_first(value_of) -> None:
    def body() -> list:
        made = new_list()
        entries = [ExAllocateFromNPagedLookasideList(made) for _ in range(6)]
        for entry in entries:
            ExFreeToNPagedLookasideList(made, entry)
        v = made.L
        counts = [v.TotalAllocates, v.AllocateMisses, v.TotalFrees, v.FreeMisses]
        depth = ExQueryDepthSList(v.ListHead)
        again = ExAllocateFromNPagedLookasideList(made)
        return [counts, depth, again == entries[3], v.AllocateMisses]

    assert value_of(body) == [[6, 6, 6, 2], 4, True, 6]


def test_the_drivers_own_routines_are_asked(value_of) -> None:
    def body() -> list:
        calls = []

        def allocate(PoolType, NumberOfBytes, Tag) -> int:
            calls.append((PoolType, NumberOfBytes, Tag))
            return ExAllocatePoolWithTag(PoolType, NumberOfBytes, Tag)

        def free(Buffer) -> None:
            calls.append("free")
            ExFreePool(Buffer)

        made = new_list(NX, 48, allocate, free)
        ExFreeToNPagedLookasideList(made, ExAllocateFromNPagedLookasideList(made))
        before = calls[:]
        ExDeleteNPagedLookasideList(made)
        return [before, calls[1:]]

    assert value_of(body) == [[(NX, 48, TAG)], ["free"]]


def test_a_paged_list_gives_paged_entries(value_of) -> None:
    def body() -> list:
        made = cast(large(PAGED_LOOKASIDE_LIST), PPAGED_LOOKASIDE_LIST)
        ExInitializePagedLookasideList(made, NULL, NULL, 0, 32, TAG, 0)
        entry = ExAllocateFromPagedLookasideList(made)
        ExFreeToPagedLookasideList(made, entry)
        same = ExAllocateFromPagedLookasideList(made) == entry
        ExDeletePagedLookasideList(made)
        return [made.L.Type, same]

    assert value_of(body) == [PagedPool, True]


def test_the_routines_of_an_extended_list_are_told_the_list(value_of) -> None:
    def body() -> list:
        calls = []

        def allocate(PoolType, NumberOfBytes, Tag, Lookaside) -> int:
            calls.append((PoolType, int(Lookaside)))
            return ExAllocatePoolWithTag(PoolType, NumberOfBytes, Tag)

        def free(Buffer, Lookaside) -> None:
            calls.append(int(Lookaside))
            ExFreePool(Buffer)

        made = cast(large(LOOKASIDE_LIST_EX), PLOOKASIDE_LIST_EX)
        flag = EX_LOOKASIDE_LIST_EX_FLAGS_RAISE_ON_FAIL
        status = ExInitializeLookasideListEx(made, allocate, free, NX, flag, 32, TAG, 0)
        ExFreeToLookasideListEx(made, ExAllocateFromLookasideListEx(made))
        ExFlushLookasideListEx(made)
        expected = [(NX | 0x10, int(made)), int(made)]
        ExDeleteLookasideListEx(made)
        return [status, calls == expected]

    assert value_of(body) == [0, True]


def test_an_extended_list_works_with_the_pool_and_refuses_both_flags(value_of) -> None:
    def body() -> list:
        made = cast(large(LOOKASIDE_LIST_EX), PLOOKASIDE_LIST_EX)
        both = ExInitializeLookasideListEx(made, NULL, NULL, NX, 3, 32, TAG, 0)
        ExInitializeLookasideListEx(made, NULL, NULL, PagedPool, 0, 32, TAG, 0)
        entry = ExAllocateFromLookasideListEx(made)
        ExFreeToLookasideListEx(made, entry)
        ExDeleteLookasideListEx(made)
        return [both, entry != 0]

    assert value_of(body) == [STATUS_INVALID_PARAMETER_5, True]


def test_a_misaligned_list_raises(value_of) -> None:
    def body() -> int:
        try:
            ExInitializeNPagedLookasideList(
                large(NPAGED_LOOKASIDE_LIST) + 8, NULL, NULL, 0, 32, TAG, 0
            )
        except StructuredException as e:
            return e.ExceptionCode
        return 0

    assert value_of(body) == STATUS_DATATYPE_MISALIGNMENT


# Mistakes


def test_freeing_an_entry_twice_makes_a_ring_that_gives_it_out_for_ever(value_of) -> None:
    def body() -> bool:
        made = new_list()
        entry = ExAllocateFromNPagedLookasideList(made)
        ExFreeToNPagedLookasideList(made, entry)
        ExFreeToNPagedLookasideList(made, entry)
        return all(ExAllocateFromNPagedLookasideList(made) == entry for _ in range(8))

    assert value_of(body)


def test_deleting_a_list_twice_is_a_corrupt_list(bugcheck_of) -> None:
    def body() -> None:
        made, _other = new_list(), new_list()
        ExDeleteNPagedLookasideList(made)
        ExDeleteNPagedLookasideList(made)

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[0]) == (0x139, 3)


def test_a_wild_entry_given_back_ends_where_it_is_freed(bugcheck_of) -> None:
    def body() -> None:
        made = new_list()
        entries = [ExAllocateFromNPagedLookasideList(made) for _ in range(5)]
        for entry in entries[:4]:
            ExFreeToNPagedLookasideList(made, entry)
        ExFreeToNPagedLookasideList(made, entries[4] + 8)

    assert bugcheck_of(body).code == 0xC2
