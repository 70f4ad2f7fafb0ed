"""Range lists: which addresses, ports or interrupts are taken, and by whom.

A list is sorted by Start. Ranges that overlap, because they are shared or were added all the same,
lie together below an entry that spans them; who iterates sees the ranges alone. Source: ReactOS
kmtests RtlRangeList.c and lib/rtl/rangelist.c; what that leaves open (overlap, SHARED_OK,
NULL_CONFLICT_OK) by the names and texts of ntstatus.h and of the flags (inferred).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.rtl import RTL_RANGE, RTL_RANGE_LIST
from ntsim.abi.scalars import BOOLEAN, NTSTATUS, PVOID, UCHAR, ULONG, ULONGLONG
from ntsim.nt.exports import Out, export
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.abi.rtl import PRTL_RANGE, PRTL_RANGE_LIST, PRTL_RANGE_LIST_ITERATOR
    from ntsim.nt.kernel import Kernel

TAG = "RRle"
MERGED, LINK, ENTRY_SIZE = 0x10, 0x28, 0x38
"""In an entry, which begins as RTL_RANGE does: the head of the list of what it spans, where others
have UserData and Owner; the link; its size."""
IS_MERGED = 0x01
_PRIVATE = 0x22
_HIGHEST = (1 << 64) - 1


def _is_merged(nt: Kernel, entry: int) -> bool:
    return bool(nt.mmu.read(entry + _PRIVATE, 1)[0] & IS_MERGED)


def _children(nt: Kernel, entry: int) -> list[int]:
    return [link - LINK for link in lists.entries(nt.mmu, entry + MERGED)]


def _top(nt: Kernel, range_list: PRTL_RANGE_LIST) -> list[int]:
    return [link - LINK for link in lists.entries(nt.mmu, int(range_list))]


def rtl_ranges(nt: Kernel, range_list: PRTL_RANGE_LIST) -> Iterator[int]:
    """Every range of a list in order, those below a spanning entry too."""
    for entry in _top(nt, range_list):
        if _is_merged(nt, entry):
            yield from _children(nt, entry)
        else:
            yield entry


def _new(nt: Kernel, start: int, end: int) -> int:
    """A zeroed entry, 0 if memory is short."""
    entry = nt.ex.pool.allocate(ENTRY_SIZE, TAG, paged=True)
    if entry:
        nt.mmu.write(entry, bytes(ENTRY_SIZE))
        v = RTL_RANGE.at(nt.mmu, entry)._v
        v.Start, v.End = start, end
    return entry


def _insert_sorted(nt: Kernel, head: int, entry: int) -> None:
    """Before the first that begins after `entry`."""
    start = nt.mmu.read_word(entry)
    read = nt.mmu.read_word
    later = (link for link in lists.walk(nt.mmu, head) if read(link - LINK) > start)
    lists.insert_tail(nt.mmu, next(later, head), entry + LINK)


def _dissolve(nt: Kernel, head: int, entry: int) -> None:
    """Put what a spanning entry holds where the entry was."""
    lists.remove(nt.mmu, entry + LINK)
    for child in _children(nt, entry):
        lists.remove(nt.mmu, child + LINK)
        place_range(nt, head, child)
    nt.free_pool(entry)


def place_range(nt: Kernel, head: int, entry: int) -> bool:
    """Enter a range, below a spanning entry if it overlaps others; False if memory is short."""
    v = RTL_RANGE.at(nt.mmu, entry)._v
    touched = [
        link - LINK
        for link in lists.entries(nt.mmu, head)
        if nt.mmu.read_word(link - LINK) <= v.End and nt.mmu.read_word(link - LINK + 8) >= v.Start
    ]
    if not touched:
        _insert_sorted(nt, head, entry)
        return True
    span = _new(nt, v.Start, v.End)
    if not span:
        return False
    nt.mmu.write(span + _PRIVATE, bytes([IS_MERGED]))
    lists.initialize(nt.mmu, span + MERGED)
    held = RTL_RANGE.at(nt.mmu, span)._v
    below = [entry]
    for other in touched:
        lists.remove(nt.mmu, other + LINK)
        old = RTL_RANGE.at(nt.mmu, other)._v
        held.Start, held.End = min(held.Start, old.Start), max(held.End, old.End)
        if _is_merged(nt, other):
            for child in _children(nt, other):
                lists.remove(nt.mmu, child + LINK)
                below.append(child)
            nt.free_pool(other)
        else:
            below.append(other)
    for child in (*below[1:], entry):
        _insert_sorted(nt, span + MERGED, child)
    _insert_sorted(nt, head, span)
    return True


def conflicts(nt: Kernel, range_list: PRTL_RANGE_LIST, start: int, end: int) -> Iterator[int]:
    """The ranges that meet `start` to `end`, by the rule that the test suite shows.

    A range that begins after `end` ends the search, even where `start` is the greater one.
    """
    for entry in rtl_ranges(nt, range_list):
        v = RTL_RANGE.at(nt.mmu, entry)._v
        if v.Start > end:
            break
        if v.Start <= start <= v.End or start <= v.Start <= end:
            yield entry


@export(irql="<= APC")
def RtlInitializeRangeList(nt: Kernel, RangeList: PRTL_RANGE_LIST) -> None:
    """An empty list. Source: ReactOS kmtests RtlRangeList.c."""
    lists.initialize(nt.mmu, int(RangeList))
    v = RangeList._v
    v.Flags = v.Count = v.Stamp = 0


@export(irql="<= APC")
def RtlFreeRangeList(nt: Kernel, RangeList: PRTL_RANGE_LIST) -> None:
    """Free the ranges; the stamp stays. Source: ReactOS kmtests RtlRangeList.c."""
    for entry in _top(nt, RangeList):
        for child in _children(nt, entry) if _is_merged(nt, entry) else []:
            nt.free_pool(child)
        nt.free_pool(entry)
    lists.initialize(nt.mmu, int(RangeList))
    RangeList._v.Flags = RangeList._v.Count = 0


@export(irql="<= APC")
def RtlAddRange(
    nt: Kernel,
    RangeList: PRTL_RANGE_LIST,
    Start: ULONGLONG,
    End: ULONGLONG,
    Attributes: UCHAR,
    Flags: ULONG,
    UserData: PVOID,
    Owner: PVOID,
) -> NTSTATUS:
    """Add a range. One that overlaps others is refused with STATUS_RANGE_LIST_CONFLICT.

    But not if all are shared (RTL_RANGE_LIST_ADD_SHARED), or with RTL_RANGE_LIST_ADD_IF_CONFLICT,
    which marks it RTL_RANGE_CONFLICT. Start behind End is STATUS_INVALID_PARAMETER.
    """
    if Start > End:
        return ntstatus.STATUS_INVALID_PARAMETER
    shared = bool(Flags & c.RTL_RANGE_LIST_ADD_SHARED)
    flags = c.RTL_RANGE_SHARED if shared else 0
    met = list(conflicts(nt, RangeList, Start, End))
    both = all(RTL_RANGE.at(nt.mmu, each)._v.Flags & c.RTL_RANGE_SHARED for each in met)
    if met and not (shared and both):
        if not Flags & c.RTL_RANGE_LIST_ADD_IF_CONFLICT:
            return ntstatus.STATUS_RANGE_LIST_CONFLICT
        flags |= c.RTL_RANGE_CONFLICT
    entry = _new(nt, Start, End)
    if not entry:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    v = RTL_RANGE.at(nt.mmu, entry)._v
    v.UserData, v.Owner, v.Attributes, v.Flags = UserData, Owner, Attributes, flags
    if not place_range(nt, int(RangeList), entry):
        nt.free_pool(entry)
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    RangeList._v.Count += 1
    RangeList._v.Stamp += 1
    return ntstatus.STATUS_SUCCESS


def span_of(nt: Kernel, range_list: PRTL_RANGE_LIST, entry: int) -> int:
    """The spanning entry that a range lies below; 0 for one on the list itself."""
    for top in _top(nt, range_list):
        if _is_merged(nt, top) and entry in _children(nt, top):
            return top
    return 0


def remove_range(nt: Kernel, range_list: PRTL_RANGE_LIST, entry: int) -> None:
    """Free one range; what it alone held together falls apart."""
    span = span_of(nt, range_list, entry)
    lists.remove(nt.mmu, entry + LINK)
    nt.free_pool(entry)
    if span:
        _dissolve(nt, int(range_list), span)
    range_list._v.Count -= 1
    range_list._v.Stamp += 1


@export(irql="<= APC")
def RtlDeleteRange(
    nt: Kernel, RangeList: PRTL_RANGE_LIST, Start: ULONGLONG, End: ULONGLONG, Owner: PVOID
) -> NTSTATUS:
    """Delete the range with exactly these bounds and owner, else STATUS_RANGE_NOT_FOUND."""
    for entry in rtl_ranges(nt, RangeList):
        v = RTL_RANGE.at(nt.mmu, entry)._v
        if (v.Start, v.End, v.Owner) == (Start, End, Owner):
            remove_range(nt, RangeList, entry)
            return ntstatus.STATUS_SUCCESS
    return ntstatus.STATUS_RANGE_NOT_FOUND


@export(irql="<= APC")
def RtlDeleteOwnersRanges(nt: Kernel, RangeList: PRTL_RANGE_LIST, Owner: PVOID) -> NTSTATUS:
    """Delete every range of an owner."""
    for entry in list(rtl_ranges(nt, RangeList)):
        if RTL_RANGE.at(nt.mmu, entry)._v.Owner == Owner:
            remove_range(nt, RangeList, entry)
    return ntstatus.STATUS_SUCCESS


def taken(
    nt: Kernel,
    range_list: PRTL_RANGE_LIST,
    bounds: tuple[int, int],
    flags: int,
    mask: int,
    callback: tuple[int, int],
) -> int:
    """The first range that stands in the way, 0 if none does.

    `callback` is (routine, context): a routine that returns TRUE lets the conflict pass.
    """
    routine, context = callback
    for entry in conflicts(nt, range_list, *bounds):
        v = RTL_RANGE.at(nt.mmu, entry)._v
        if v.Attributes & mask:
            continue
        if flags & c.RTL_RANGE_LIST_SHARED_OK and v.Flags & c.RTL_RANGE_SHARED:
            continue
        if flags & c.RTL_RANGE_LIST_NULL_CONFLICT_OK and not v.Owner:
            continue
        if not routine or not nt.call(routine, context, entry) & 0xFF:
            return entry
    return 0


@export(irql="<= APC")
def RtlIsRangeAvailable(
    nt: Kernel,
    RangeList: PRTL_RANGE_LIST,
    Start: ULONGLONG,
    End: ULONGLONG,
    Flags: ULONG,
    AttributeAvailableMask: UCHAR,
    Context: PVOID,
    Callback: PVOID,
    Available: Out[BOOLEAN],
) -> NTSTATUS:
    """Whether nothing stands in the way of a range.

    Ranges with an attribute of the mask count as free, with RTL_RANGE_LIST_SHARED_OK shared ones,
    with RTL_RANGE_LIST_NULL_CONFLICT_OK those without owner, and those Callback says TRUE to.
    """
    rest = (Flags, AttributeAvailableMask, (Callback, Context))
    Available[0] = int(not taken(nt, RangeList, (Start, End), *rest))
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def RtlFindRange(
    nt: Kernel,
    RangeList: PRTL_RANGE_LIST,
    Minimum: ULONGLONG,
    Maximum: ULONGLONG,
    Length: ULONG,
    Alignment: ULONG,
    Flags: ULONG,
    AttributeAvailableMask: UCHAR,
    Context: PVOID,
    Callback: PVOID,
    Start: Out[ULONGLONG],
) -> NTSTATUS:
    """The highest aligned place for Length between Minimum and Maximum, both inclusive.

    STATUS_INVALID_PARAMETER for no length or alignment, STATUS_RANGE_NOT_FOUND if there is none.
    """
    if not Length or not Alignment:
        return ntstatus.STATUS_INVALID_PARAMETER
    rest = (Flags, AttributeAvailableMask, (Callback, Context))
    at = Maximum - (Length - 1)
    while at >= Minimum:
        at -= at % Alignment
        if at < Minimum:
            break
        hit = taken(nt, RangeList, (at, at + Length - 1), *rest)
        if not hit:
            Start[0] = at
            return ntstatus.STATUS_SUCCESS
        at = nt.mmu.read_word(hit) - Length
    return ntstatus.STATUS_RANGE_NOT_FOUND


def _first(
    nt: Kernel, range_list: PRTL_RANGE_LIST, iterator: PRTL_RANGE_LIST_ITERATOR, last: bool
) -> int:
    """Put an iterator on the first or last range; 0 if there is none."""
    every = list(rtl_ranges(nt, range_list))
    found = every[-1 if last else 0] if every else 0
    v = iterator._v
    v.RangeListHead, v.Stamp = int(range_list), range_list._v.Stamp
    v.Current, v.MergedHead = found, _merged_head(nt, range_list, found)
    return found


def _merged_head(nt: Kernel, range_list: PRTL_RANGE_LIST, entry: int) -> int:
    """The head of the inner list that a range is on; 0 for one on the list itself."""
    span = span_of(nt, range_list, entry)
    return span + MERGED if span else 0


@export(irql="<= APC")
def RtlGetFirstRange(
    nt: Kernel,
    RangeList: PRTL_RANGE_LIST,
    Iterator: PRTL_RANGE_LIST_ITERATOR,
    Range: Out[PRTL_RANGE],
) -> NTSTATUS:
    """Begin with the lowest range; STATUS_NO_MORE_ENTRIES and NULL for an empty list."""
    Range[0] = found = RTL_RANGE.at(nt.mmu, _first(nt, RangeList, Iterator, False))
    return ntstatus.STATUS_SUCCESS if found else ntstatus.STATUS_NO_MORE_ENTRIES


@export(irql="<= APC")
def RtlGetLastRange(
    nt: Kernel,
    RangeList: PRTL_RANGE_LIST,
    Iterator: PRTL_RANGE_LIST_ITERATOR,
    Range: Out[PRTL_RANGE],
) -> NTSTATUS:
    """Begin with the highest range; STATUS_NO_MORE_ENTRIES and NULL for an empty list."""
    Range[0] = found = RTL_RANGE.at(nt.mmu, _first(nt, RangeList, Iterator, True))
    return ntstatus.STATUS_SUCCESS if found else ntstatus.STATUS_NO_MORE_ENTRIES


@export(irql="<= APC")
def RtlGetNextRange(
    nt: Kernel,
    Iterator: PRTL_RANGE_LIST_ITERATOR,
    Range: Out[PRTL_RANGE],
    MoveForwards: BOOLEAN,
) -> NTSTATUS:
    """The next range, or the one before; NULL and STATUS_NO_MORE_ENTRIES at the end, again and
    again. STATUS_INVALID_PARAMETER if the list has been changed since.
    """
    v = Iterator._v
    owner = RTL_RANGE_LIST.at(nt.mmu, v.RangeListHead)
    if v.Stamp != owner._v.Stamp:
        return ntstatus.STATUS_INVALID_PARAMETER
    every = list(rtl_ranges(nt, owner))
    found = 0
    if v.Current in every:
        at = every.index(v.Current) + (1 if MoveForwards else -1)
        found = every[at] if 0 <= at < len(every) else 0
    v.Current, v.MergedHead = found, _merged_head(nt, owner, found)
    Range[0] = RTL_RANGE.at(nt.mmu, found)
    return ntstatus.STATUS_SUCCESS if found else ntstatus.STATUS_NO_MORE_ENTRIES


def _add_all(nt: Kernel, to: PRTL_RANGE_LIST, source: PRTL_RANGE_LIST, flags: int) -> int:
    """Add every range of a list to another; the first failure's status."""
    for entry in list(rtl_ranges(nt, source)):
        v = RTL_RANGE.at(nt.mmu, entry)._v
        add = flags | (c.RTL_RANGE_LIST_ADD_SHARED if v.Flags & c.RTL_RANGE_SHARED else 0)
        rest = (v.Attributes, add, v.UserData, v.Owner)
        status = RtlAddRange(nt, to, v.Start, v.End, *rest)
        if status:
            return status
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def RtlCopyRangeList(
    nt: Kernel, CopyRangeList: PRTL_RANGE_LIST, RangeList: PRTL_RANGE_LIST
) -> NTSTATUS:
    """Copies of every range, those in conflict too, in an initialized list."""
    CopyRangeList._v.Flags = RangeList._v.Flags
    return _add_all(nt, CopyRangeList, RangeList, c.RTL_RANGE_LIST_ADD_IF_CONFLICT)


@export(irql="<= APC")
def RtlMergeRangeLists(
    nt: Kernel,
    MergedRangeList: PRTL_RANGE_LIST,
    RangeList1: PRTL_RANGE_LIST,
    RangeList2: PRTL_RANGE_LIST,
    Flags: ULONG,
) -> NTSTATUS:
    """A list of the ranges of two; STATUS_RANGE_LIST_CONFLICT if they overlap.

    But not with RTL_RANGE_LIST_MERGE_IF_CONFLICT.
    """
    status = RtlCopyRangeList(nt, MergedRangeList, RangeList1)
    return status or _add_all(nt, MergedRangeList, RangeList2, Flags)


@export(irql="<= APC")
def RtlInvertRangeList(
    nt: Kernel, InvertedRangeList: PRTL_RANGE_LIST, RangeList: PRTL_RANGE_LIST
) -> NTSTATUS:
    """The gaps of a list, without owner; nothing for an empty one."""
    free = 0
    entries = _top(nt, RangeList)
    for entry in entries:
        start = nt.mmu.read_word(entry)
        if start > free:
            status = RtlAddRange(nt, InvertedRangeList, free, start - 1, 0, 0, 0, 0)
            if status:
                return status
        free = nt.mmu.read_word(entry + 8) + 1
    if entries and free <= _HIGHEST:
        return RtlAddRange(nt, InvertedRangeList, free, _HIGHEST, 0, 0, 0, 0)
    return ntstatus.STATUS_SUCCESS
