"""Range lists with overlaps, gaps and places. What test suites assert is in the facts."""

from ntsim.wdm import *


def new_list():
    made = cast(ExAllocatePoolZero(PagedPool, RTL_RANGE_LIST.size, 1), PRTL_RANGE_LIST)
    RtlInitializeRangeList(made)
    return made


def add(ranges, start, end, flags=0, owner=7):
    return RtlAddRange(ranges, start, end, 0, flags, NULL, owner)


def listed(ranges, forwards=True):
    found, iterator = [], RTL_RANGE_LIST_ITERATOR()
    first = RtlGetFirstRange if forwards else RtlGetLastRange
    status, each = first(ranges, iterator)
    while not status:
        found.append((each.Start, each.End, each.Flags, bool(iterator.MergedHead)))
        status, each = RtlGetNextRange(iterator, forwards)
    return found


def test_ranges_are_sorted_whatever_their_order_and_iterate_backwards(value_of) -> None:
    def body():
        ranges = new_list()
        for start in (30, 10, 20):
            add(ranges, start, start + 5)
        return listed(ranges), listed(ranges, forwards=False)

    forwards, backwards = value_of(body)
    assert [each[0] for each in forwards] == [10, 20, 30]
    assert backwards == forwards[::-1]


def test_an_overlap_is_refused_unless_asked_for(value_of) -> None:
    def body():
        ranges = new_list()
        statuses = [add(ranges, 10, 20), add(ranges, 20, 30)]
        statuses.append(add(ranges, 20, 30, RTL_RANGE_LIST_ADD_IF_CONFLICT))
        return statuses, listed(ranges), ranges.Count

    statuses, found, count = value_of(body)
    assert statuses == [STATUS_SUCCESS, STATUS_RANGE_LIST_CONFLICT, STATUS_SUCCESS]
    assert found == [(10, 20, 0, True), (20, 30, RTL_RANGE_CONFLICT, True)]
    assert count == 2


def test_shared_ranges_overlap_and_fall_apart_when_what_held_them_goes(value_of) -> None:
    def body():
        ranges, shared = new_list(), RTL_RANGE_LIST_ADD_SHARED
        for start, end in ((10, 19), (30, 39), (15, 35)):
            assert add(ranges, start, end, shared) == STATUS_SUCCESS
        together = listed(ranges)
        assert RtlDeleteRange(ranges, 15, 35, 7) == STATUS_SUCCESS
        apart = listed(ranges)
        missing = RtlDeleteRange(ranges, 15, 35, 7)
        RtlFreeRangeList(ranges)
        return together, apart, missing, listed(ranges)

    together, apart, missing, empty = value_of(body)
    assert together == [(10, 19, 1, True), (15, 35, 1, True), (30, 39, 1, True)]
    assert apart == [(10, 19, 1, False), (30, 39, 1, False)]
    assert (missing, empty) == (STATUS_RANGE_NOT_FOUND, [])


def test_the_highest_aligned_free_place_is_found(value_of) -> None:
    def body():
        ranges = new_list()
        add(ranges, 0x380, 0x3FF)
        add(ranges, 0x200, 0x2FF)

        def find(low, high, length, alignment, flags=0):
            rest = (length, alignment, flags, 0, NULL, NULL)
            return RtlFindRange(ranges, low, high, *rest)

        return [
            find(0, 0x3FF, 0x40, 0x40), find(0, 0x3FF, 0x100, 0x100), find(0, 0x4FF, 0x100, 0x100),
            find(0x200, 0x3FF, 0x100, 0x100)[0], find(0, 0x3FF, 0, 1)[0], find(0, 0x3FF, 1, 0)[0],
        ]  # fmt: skip

    assert value_of(body) == [
        (0, 0x340), (0, 0x100), (0, 0x400), STATUS_RANGE_NOT_FOUND, STATUS_INVALID_PARAMETER,
        STATUS_INVALID_PARAMETER,
    ]  # fmt: skip


def test_a_callback_may_let_conflicts_pass_and_sees_the_range(value_of) -> None:
    def body():
        ranges, seen = new_list(), []
        add(ranges, 10, 20)

        def conflict(context, range_):
            seen.append((int(context), cast(range_, PRTL_RANGE).Start))
            return TRUE

        return RtlIsRangeAvailable(ranges, 15, 16, 0, 0, 0x77, conflict), seen

    assert value_of(body) == ((STATUS_SUCCESS, 1), [(0x77, 10)])


def test_lists_are_copied_merged_and_inverted(value_of) -> None:
    def body():
        one, two, copy, both, gaps = (new_list() for _ in range(5))
        add(one, 10, 19)
        add(two, 30, 39)
        add(two, 15, 16)
        RtlCopyRangeList(copy, one)
        clash = RtlMergeRangeLists(both, one, two, 0)
        RtlFreeRangeList(both)
        done = RtlMergeRangeLists(both, one, two, RTL_RANGE_LIST_MERGE_IF_CONFLICT)
        RtlInvertRangeList(gaps, both)
        RtlDeleteOwnersRanges(one, 7)
        return [listed(each) for each in (one, copy, both, gaps)], clash, done

    lists, clash, done = value_of(body)
    assert [[each[:2] for each in ranges] for ranges in lists] == [
        [], [(10, 19)], [(10, 19), (15, 16), (30, 39)],
        [(0, 9), (20, 29), (40, (1 << 64) - 1)],
    ]  # fmt: skip
    assert (clash, done) == (STATUS_RANGE_LIST_CONFLICT, STATUS_SUCCESS)


def test_an_iterator_of_a_list_that_has_changed_is_refused(value_of) -> None:
    def body():
        ranges, iterator = new_list(), RTL_RANGE_LIST_ITERATOR()
        add(ranges, 10, 20)
        RtlGetFirstRange(ranges, iterator)
        add(ranges, 30, 40)
        return RtlGetNextRange(iterator, TRUE)[0]

    assert value_of(body) == STATUS_INVALID_PARAMETER
