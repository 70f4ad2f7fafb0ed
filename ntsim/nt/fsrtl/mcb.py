"""Map control blocks: which clusters (LBNs) the sectors of a file (VBNs) lie in, with holes.

LARGE_MCB points at an array of pairs, the VBN after a run and the run's LBN (-1: a hole), which is
kept as Windows keeps it. Source: WDK FsRtlInitializeLargeMcb and its family; ntifs.h LARGE_MCB,
BASE_MCB; ReactOS kmtests FsRtlMcb.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ntsim.abi.mcb import LARGE_MCB
from ntsim.abi.scalars import BOOLEAN, LONGLONG, POOL_TYPE, ULONG
from ntsim.nt.exports import Out, OutOpt, export

if TYPE_CHECKING:
    from ntsim.abi.mcb import PLARGE_MCB
    from ntsim.nt.kernel import Kernel

HOLE = -1
INITIAL_PAIRS = 15
TAG = "FSrm"

Run = tuple[int, int, int]
"""VBN, LBN or HOLE, length."""


def runs_of(nt: Kernel, mcb: PLARGE_MCB) -> list[Run]:
    """Every run, holes included, from VBN 0 on."""
    v = mcb._v
    data = nt.mmu.read(v.Mapping, 8 * v.PairCount) if v.PairCount else b""
    found, at = [], 0
    for following, lbn in struct.iter_unpack("<II", data):
        found.append((at, HOLE if lbn == 0xFFFF_FFFF else lbn, following - at))
        at = following
    return found


def pieces_of(nt: Kernel, mcb: PLARGE_MCB) -> list[Run]:
    """The runs without the holes."""
    return [run for run in runs_of(nt, mcb) if run[1] != HOLE]


def store(nt: Kernel, mcb: PLARGE_MCB, pieces: list[Run]) -> None:
    """Put pieces into the map: neighbours joined, holes between them."""
    joined: list[Run] = []
    for vbn, lbn, count in sorted(pieces):
        if joined and (vbn, lbn) == (joined[-1][0] + joined[-1][2], joined[-1][1] + joined[-1][2]):
            before = joined.pop()
            joined.append((before[0], before[1], before[2] + count))
        else:
            joined.append((vbn, lbn, count))
    pairs: list[tuple[int, int]] = []
    for vbn, lbn, count in joined:
        if vbn > (pairs[-1][0] if pairs else 0):
            pairs.append((vbn, 0xFFFF_FFFF))
        pairs.append((vbn + count, lbn))
    v = mcb._v
    if len(pairs) > v.MaximumPairCount:
        if v.Mapping:
            nt.free_pool(v.Mapping)
        v.MaximumPairCount = 2 * len(pairs)
        v.Mapping = nt.ex.pool.allocate(8 * v.MaximumPairCount, TAG, paged=bool(v.PoolType & 1))
    v.PairCount = len(pairs)
    if pairs:
        words = (struct.pack("<II", a & 0xFFFF_FFFF, b & 0xFFFF_FFFF) for a, b in pairs)
        nt.mmu.write(v.Mapping, b"".join(words))


def without(pieces: list[Run], first: int, beyond: int) -> list[Run]:
    """What is left of pieces outside VBNs [first, beyond)."""
    left = []
    for vbn, lbn, count in pieces:
        if vbn < first:
            left.append((vbn, lbn, min(count, first - vbn)))
        if vbn + count > beyond:
            skip = max(beyond - vbn, 0)
            left.append((vbn + skip, lbn + skip, count - skip))
    return left


@export(irql="<= APC")
def FsRtlInitializeLargeMcb(nt: Kernel, Mcb: PLARGE_MCB, PoolType: POOL_TYPE) -> None:
    """An empty map. Source: WDK FsRtlInitializeLargeMcb."""
    nt.mmu.write(int(Mcb), bytes(LARGE_MCB.size))
    v = Mcb._v
    v.GuardedMutex = nt.ex.pool.allocate(0x38, TAG, zero=True)
    v.PoolType, v.MaximumPairCount = PoolType & 1, INITIAL_PAIRS
    v.Mapping = nt.ex.pool.allocate(8 * INITIAL_PAIRS, TAG, paged=bool(PoolType & 1))


@export(irql="<= APC")
def FsRtlUninitializeLargeMcb(nt: Kernel, Mcb: PLARGE_MCB) -> None:
    """Free what the map allocated. Source: WDK FsRtlUninitializeLargeMcb."""
    v = Mcb._v
    for block in (v.GuardedMutex, v.Mapping):
        if block:
            nt.free_pool(block)
    v.GuardedMutex = v.Mapping = v.PairCount = v.MaximumPairCount = 0


@export(irql="<= APC")
def FsRtlAddLargeMcbEntry(
    nt: Kernel, Mcb: PLARGE_MCB, Vbn: LONGLONG, Lbn: LONGLONG, SectorCount: LONGLONG
) -> BOOLEAN:
    """Map sectors; FALSE, and nothing changed, if some are mapped elsewhere. Source: WDK."""
    pieces = pieces_of(nt, Mcb)
    for vbn, lbn, count in pieces:
        overlaps = vbn < Vbn + SectorCount and Vbn < vbn + count
        if overlaps and lbn - vbn != Lbn - Vbn:
            return False
    kept = without(pieces, Vbn, Vbn + SectorCount)
    store(nt, Mcb, [*kept, (Vbn, Lbn, SectorCount)])
    return True


@export(irql="<= APC")
def FsRtlRemoveLargeMcbEntry(
    nt: Kernel, Mcb: PLARGE_MCB, Vbn: LONGLONG, SectorCount: LONGLONG
) -> None:
    """Make a hole. Source: WDK FsRtlRemoveLargeMcbEntry."""
    store(nt, Mcb, without(pieces_of(nt, Mcb), Vbn, Vbn + SectorCount))


@export(irql="<= APC")
def FsRtlTruncateLargeMcb(nt: Kernel, Mcb: PLARGE_MCB, Vbn: LONGLONG) -> None:
    """Forget everything from Vbn on. Source: WDK FsRtlTruncateLargeMcb."""
    store(nt, Mcb, without(pieces_of(nt, Mcb), Vbn, 1 << 63))


@export(irql="<= APC")
def FsRtlResetLargeMcb(nt: Kernel, Mcb: PLARGE_MCB, SelfSynchronized: BOOLEAN) -> None:
    """Forget everything. Source: WDK FsRtlResetLargeMcb."""
    store(nt, Mcb, [])


@export(irql="<= APC")
def FsRtlSplitLargeMcb(nt: Kernel, Mcb: PLARGE_MCB, Vbn: LONGLONG, Amount: LONGLONG) -> BOOLEAN:
    """Insert a hole of Amount sectors at Vbn; what follows moves up. Source: WDK."""
    pieces = pieces_of(nt, Mcb)
    behind = [(v + Amount, lbn, count) for v, lbn, count in without(pieces, 0, Vbn)]
    store(nt, Mcb, [*without(pieces, Vbn, 1 << 63), *behind])
    return True


@export(irql="<= APC")
def FsRtlLookupLargeMcbEntry(
    nt: Kernel,
    Mcb: PLARGE_MCB,
    Vbn: LONGLONG,
    Lbn: OutOpt[LONGLONG],
    SectorCountFromLbn: OutOpt[LONGLONG],
    StartingLbn: OutOpt[LONGLONG],
    SectorCountFromStartingLbn: OutOpt[LONGLONG],
    Index: OutOpt[ULONG],
) -> BOOLEAN:
    """Where a sector lies (-1: in a hole), and its run; FALSE past the last. Source: WDK."""
    for index, (vbn, lbn, count) in enumerate(runs_of(nt, Mcb)):
        if vbn <= Vbn < vbn + count:
            at = Vbn - vbn
            for out, value in (
                (Lbn, HOLE if lbn == HOLE else lbn + at), (SectorCountFromLbn, count - at),
                (StartingLbn, lbn), (SectorCountFromStartingLbn, count), (Index, index),
            ):  # fmt: skip
                if out:
                    out[0] = value
            return True
    return False


@export(irql="<= APC")
def FsRtlLookupLastLargeMcbEntry(
    nt: Kernel, Mcb: PLARGE_MCB, Vbn: Out[LONGLONG], Lbn: Out[LONGLONG]
) -> BOOLEAN:
    """The last mapped sector; FALSE if there is none. Source: WDK."""
    found = runs_of(nt, Mcb)
    if not found:
        return False
    vbn, lbn, count = found[-1]
    Vbn[0], Lbn[0] = vbn + count - 1, lbn + count - 1
    return True


@export(irql="<= APC")
def FsRtlLookupLastLargeMcbEntryAndIndex(
    nt: Kernel,
    OpaqueMcb: PLARGE_MCB,
    LargeVbn: Out[LONGLONG],
    LargeLbn: Out[LONGLONG],
    Index: Out[ULONG],
) -> BOOLEAN:
    """The same with the number of its run. Source: WDK FsRtlLookupLastLargeMcbEntryAndIndex."""
    Index[0] = max(len(runs_of(nt, OpaqueMcb)) - 1, 0)
    return FsRtlLookupLastLargeMcbEntry(nt, OpaqueMcb, LargeVbn, LargeLbn)


@export(irql="<= APC")
def FsRtlGetNextLargeMcbEntry(
    nt: Kernel,
    Mcb: PLARGE_MCB,
    RunIndex: ULONG,
    Vbn: Out[LONGLONG],
    Lbn: Out[LONGLONG],
    SectorCount: Out[LONGLONG],
) -> BOOLEAN:
    """A run by its number, holes counted; FALSE past the last. Source: WDK."""
    found = runs_of(nt, Mcb)
    if RunIndex >= len(found):
        return False
    Vbn[0], Lbn[0], SectorCount[0] = found[RunIndex]
    return True


@export(irql="<= APC")
def FsRtlNumberOfRunsInLargeMcb(nt: Kernel, Mcb: PLARGE_MCB) -> ULONG:
    """How many runs there are, holes counted. Source: WDK FsRtlNumberOfRunsInLargeMcb."""
    return int(Mcb._v.PairCount)
