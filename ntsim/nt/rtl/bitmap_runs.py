"""Runs of clear bits in a bitmap. Source: WDK RtlFindClearRuns, RtlFindLongestRunClear,
RtlFindFirstRunClear, RtlFindNextForwardRunClear, RtlFindLastBackwardRunClear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi.scalars import BOOLEAN, ULONG
from ntsim.nt.exports import Out, export
from ntsim.nt.rtl.bitmap import read_bits

if TYPE_CHECKING:
    from ntsim.abi.rtl import PRTL_BITMAP, PRTL_BITMAP_RUN
    from ntsim.nt.kernel import Kernel

Run = tuple[int, int]
"""Where a run begins, and how many bits it has."""


def clear_runs(nt: Kernel, bitmap: Any) -> list[Run]:
    """Every run of clear bits, in order."""
    size: int = bitmap._v.SizeOfBitMap
    clear = ~read_bits(nt, bitmap) & (1 << size) - 1
    found, at = [], 0
    while clear:
        skip = (clear & -clear).bit_length() - 1
        clear >>= skip
        length = (~clear & clear + 1).bit_length() - 1
        found.append((at + skip, length))
        clear >>= length
        at += skip + length
    return found


def longest(runs: list[Run]) -> list[Run]:
    """Longest first, the earlier of two that are as long."""
    return sorted(runs, key=lambda run: -run[1])


@export(irql="<= APC")
def RtlFindClearRuns(
    nt: Kernel,
    BitMapHeader: PRTL_BITMAP,
    RunArray: PRTL_BITMAP_RUN,
    SizeOfRunArray: ULONG,
    LocateLongestRuns: BOOLEAN,
) -> ULONG:
    """The first runs, or the longest, up to SizeOfRunArray of them; how many. Source: WDK."""
    runs = clear_runs(nt, BitMapHeader)
    chosen = (longest(runs) if LocateLongestRuns else runs)[:SizeOfRunArray]
    for index, (start, length) in enumerate(chosen):
        v = RunArray[index]._v
        v.StartingIndex, v.NumberOfBits = start, length
    return len(chosen)


@export(irql="<= APC")
def RtlFindLongestRunClear(
    nt: Kernel, BitMapHeader: PRTL_BITMAP, StartingIndex: Out[ULONG]
) -> ULONG:
    """The length of the longest run, 0 if no bit is clear. Source: WDK."""
    return tell(longest(clear_runs(nt, BitMapHeader)), StartingIndex, 0)


@export(irql="<= APC")
def RtlFindFirstRunClear(
    nt: Kernel, BitMapHeader: PRTL_BITMAP, StartingIndex: Out[ULONG]
) -> ULONG:
    """The length of the first run, 0 if no bit is clear. Source: WDK."""
    return tell(clear_runs(nt, BitMapHeader), StartingIndex, 0)


@export(irql="<= APC")
def RtlFindNextForwardRunClear(
    nt: Kernel, BitMapHeader: PRTL_BITMAP, FromIndex: ULONG, StartingRunIndex: Out[ULONG]
) -> ULONG:
    """The length of the run at or after FromIndex, counted from there; 0 if there is none.

    Source: WDK.
    """
    runs = [
        (max(start, FromIndex), start + length - max(start, FromIndex))
        for start, length in clear_runs(nt, BitMapHeader)
        if start + length > FromIndex
    ]
    return tell(runs, StartingRunIndex, FromIndex)


@export(irql="<= APC")
def RtlFindLastBackwardRunClear(
    nt: Kernel, BitMapHeader: PRTL_BITMAP, FromIndex: ULONG, StartingRunIndex: Out[ULONG]
) -> ULONG:
    """The length of the run at or before FromIndex, counted up to it; 0 if there is none.

    Source: WDK.
    """
    runs = [
        (start, min(length, FromIndex + 1 - start))
        for start, length in clear_runs(nt, BitMapHeader)
        if start <= FromIndex
    ]
    return tell(runs[::-1], StartingRunIndex, FromIndex)


def tell(runs: list[Run], index: Any, none: int) -> int:
    """The first of `runs`: its start to *index, its length returned."""
    index[0], length = runs[0] if runs else (none, 0)
    return length
