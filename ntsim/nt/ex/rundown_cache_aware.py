"""Cache-aware run-down protection: a reference count for each processor, run down together.

A thread takes its reference in its processor's count and gives it back in that of the processor
where it runs then, so that single counts may be negative; only their sum means something, and that
is looked at when the owner waits. The block is EX_RUNDOWN_REF_CACHE_AWARE: the counts' address, the
pool block, their distance and their number. Source: WDK "Run-Down Protection",
ExAllocateCacheAwareRundownProtection; ReactOS ntoskrnl/ex/rundown.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ntsim.abi.ex import EX_RUNDOWN_REF
from ntsim.abi.ke import KEVENT
from ntsim.abi.scalars import BOOLEAN, POOL_TYPE, PVOID, SIZE_T, ULONG
from ntsim.nt.ex.rundown import (
    ACTIVE,
    ONE,
    WAIT_BLOCK_SIZE,
    WR_RUNDOWN,
    ExAcquireRundownProtectionEx,
    ExReleaseRundownProtectionEx,
)
from ntsim.nt.exports import export
from ntsim.nt.ke.objects import KeInitializeEvent
from ntsim.nt.ke.wait import SYNCHRONIZATION_EVENT, WAIT_ANY, ki_wait

if TYPE_CHECKING:
    from ntsim.abi.ex import PEX_RUNDOWN_REF
    from ntsim.nt.kernel import Kernel

REFS, ALLOCATED, DISTANCE, COUNT, HEADER = 0x00, 0x08, 0x10, 0x14, 0x18
CACHE_LINE = 64
_MASK = (1 << 64) - 1


def layout(nt: Kernel) -> tuple[int, int]:
    """(distance of the counts, bytes of the whole block with room to align them)."""
    distance = CACHE_LINE if len(nt.processors) > 1 else 8
    return distance, HEADER + (len(nt.processors) + 1) * distance


def fill(nt: Kernel, block: int, allocated: int) -> None:
    """Counts at zero, on cache lines of their own."""
    distance, size = layout(nt)
    nt.mmu.write(block, bytes(size))
    refs = -(-(block + HEADER) // distance) * distance
    nt.mmu.write_word(block + REFS, refs)
    nt.mmu.write_word(block + ALLOCATED, allocated)
    nt.mmu.write(block + DISTANCE, distance.to_bytes(4, "little"))
    nt.mmu.write(block + COUNT, len(nt.processors).to_bytes(4, "little"))


def refs_of(nt: Kernel, block: int) -> Iterator[PEX_RUNDOWN_REF]:
    """The counts, by processor."""
    head = nt.mmu.read(block, HEADER)
    first, distance = int.from_bytes(head[:8], "little"), int.from_bytes(head[16:20], "little")
    number = int.from_bytes(head[20:24], "little")
    return (EX_RUNDOWN_REF.at(nt.mmu, first + distance * i) for i in range(number))


def mine(nt: Kernel, block: int) -> PEX_RUNDOWN_REF:
    """The count of the current processor."""
    first, distance = nt.read_pointer(block), nt.read_pointer(block + DISTANCE) & 0xFFFF_FFFF
    return EX_RUNDOWN_REF.at(nt.mmu, first + distance * nt.il.current.number)  # type: ignore[no-any-return]


@export(irql="<= APC")
def ExAllocateCacheAwareRundownProtection(nt: Kernel, PoolType: POOL_TYPE, PoolTag: ULONG) -> PVOID:
    """A block ready for use; NULL without memory. Source: WDK."""
    tag = PoolTag.to_bytes(4, "little").decode("latin-1")
    block: int = nt.ex.pool.allocate(layout(nt)[1], tag, paged=bool(PoolType & 1))
    if block:
        fill(nt, block, block)
    return block


@export(irql="<= APC")
def ExFreeCacheAwareRundownProtection(nt: Kernel, RunRefCacheAware: PVOID) -> None:
    """Free a block of ExAllocateCacheAwareRundownProtection. Source: WDK."""
    nt.free_pool(nt.read_pointer(RunRefCacheAware + ALLOCATED))


@export(irql="<= APC")
def ExSizeOfRundownProtectionCacheAware(nt: Kernel) -> SIZE_T:
    """Bytes for ExInitializeRundownProtectionCacheAware. Source: WDK."""
    return layout(nt)[1]


@export(irql="<= APC")
def ExInitializeRundownProtectionCacheAware(
    nt: Kernel, RunRefCacheAware: PVOID, RunRefSize: SIZE_T
) -> None:
    """The same in memory of the caller's. Source: WDK."""
    fill(nt, RunRefCacheAware, 0)


@export(irql="<= APC")
def ExReInitializeRundownProtectionCacheAware(nt: Kernel, RunRefCacheAware: PVOID) -> None:
    """Let references in again after a run-down. Source: WDK."""
    for ref in refs_of(nt, RunRefCacheAware):
        ref._v.Count = 0


@export(irql="<= DISPATCH")
def ExAcquireRundownProtectionCacheAware(nt: Kernel, RunRefCacheAware: PVOID) -> BOOLEAN:
    """One reference more; FALSE once the run-down has begun. Source: WDK."""
    return ExAcquireRundownProtectionEx(nt, mine(nt, RunRefCacheAware), 1)


@export(irql="<= DISPATCH")
def ExAcquireRundownProtectionCacheAwareEx(
    nt: Kernel, RunRefCacheAware: PVOID, Count: ULONG
) -> BOOLEAN:
    """Count references more; FALSE once the run-down has begun. Source: WDK."""
    return ExAcquireRundownProtectionEx(nt, mine(nt, RunRefCacheAware), Count)


@export(irql="<= DISPATCH")
def ExReleaseRundownProtectionCacheAware(nt: Kernel, RunRefCacheAware: PVOID) -> None:
    """One reference less, on whatever processor. Source: WDK."""
    ExReleaseRundownProtectionEx(nt, mine(nt, RunRefCacheAware), 1)


@export(irql="<= DISPATCH")
def ExReleaseRundownProtectionCacheAwareEx(nt: Kernel, RunRef: PVOID, Count: ULONG) -> None:
    """Count references less. Source: WDK."""
    ExReleaseRundownProtectionEx(nt, mine(nt, RunRef), Count)


@export(irql="<= APC")
def ExWaitForRundownProtectionReleaseCacheAware(nt: Kernel, RunRef: PVOID) -> None:
    """Let nobody in any more and wait until the references of all processors are gone.

    Source: WDK.
    """
    counts = (ref._v.Count for ref in refs_of(nt, RunRef))
    total = sum(0 if count & ACTIVE else count for count in counts) & _MASK
    if not total:
        ExRundownCompletedCacheAware(nt, RunRef)
        return
    block = nt.allocate_pool(WAIT_BLOCK_SIZE, "ExRr")
    event = KEVENT.at(nt.mmu, block + 8)
    nt.write_pointer(block, total // ONE)
    KeInitializeEvent(nt, event, SYNCHRONIZATION_EVENT, False)
    for ref in refs_of(nt, RunRef):
        ref._v.Count = block | ACTIVE
    ki_wait(nt, [int(event)], WAIT_ANY, WR_RUNDOWN, 0, False, None)
    nt.free_pool(block)


@export(irql="<= APC")
def ExRundownCompletedCacheAware(nt: Kernel, RunRefCacheAware: PVOID) -> None:
    """Run down for good: nobody waits, nobody gets in. Source: WDK."""
    for ref in refs_of(nt, RunRefCacheAware):
        ref._v.Count = ACTIVE
