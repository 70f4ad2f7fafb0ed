"""Run-down protection: references that hold off the end of something, until its owner asks.

EX_RUNDOWN_REF.Count holds the references times two. Bit 0 means run down: nobody gets in; above it
stands 0, or the address of the block with which the owner waits for the last one out. Source: WDK
"Run-Down Protection"; ReactOS ntoskrnl/ex/rundown.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.ke import KEVENT
from ntsim.abi.scalars import BOOLEAN, ULONG
from ntsim.nt.exports import export
from ntsim.nt.ke.objects import KeInitializeEvent, KeSetEvent
from ntsim.nt.ke.wait import SYNCHRONIZATION_EVENT, WAIT_ANY, ki_wait

if TYPE_CHECKING:
    from ntsim.abi.ex import PEX_RUNDOWN_REF
    from ntsim.nt.kernel import Kernel

ACTIVE, ONE = 1, 2
WAIT_BLOCK_SIZE = 8 + KEVENT.size
"""The count of references that are left, then the event that the last one sets."""

WR_RUNDOWN = 36
_MASK = (1 << 64) - 1


@export(irql="<= APC")
def ExInitializeRundownProtection(nt: Kernel, RunRef: PEX_RUNDOWN_REF) -> None:
    """No references, not run down. Source: WDK ExInitializeRundownProtection."""
    RunRef._v.Count = 0


@export(irql="<= APC")
def ExReInitializeRundownProtection(nt: Kernel, RunRef: PEX_RUNDOWN_REF) -> None:
    """Let references in again after a run-down. Source: WDK ExReInitializeRundownProtection."""
    RunRef._v.Count = 0


@export(irql="<= DISPATCH")
def ExAcquireRundownProtection(nt: Kernel, RunRef: PEX_RUNDOWN_REF) -> BOOLEAN:
    """One reference more; FALSE once the run-down has begun. Source: WDK."""
    return ExAcquireRundownProtectionEx(nt, RunRef, 1)


@export(irql="<= DISPATCH")
def ExAcquireRundownProtectionEx(nt: Kernel, RunRef: PEX_RUNDOWN_REF, Count: ULONG) -> BOOLEAN:
    """Count references more; FALSE once the run-down has begun. Source: WDK."""
    v = RunRef._v
    if v.Count & ACTIVE:
        return False
    v.Count = (v.Count + Count * ONE) & _MASK
    return True


@export(irql="<= DISPATCH")
def ExReleaseRundownProtection(nt: Kernel, RunRef: PEX_RUNDOWN_REF) -> None:
    """One reference less; the last one lets the waiting owner go on. Source: WDK."""
    ExReleaseRundownProtectionEx(nt, RunRef, 1)


@export(irql="<= DISPATCH")
def ExReleaseRundownProtectionEx(nt: Kernel, RunRef: PEX_RUNDOWN_REF, Count: ULONG) -> None:
    """Count references less. One too many is not noticed: the count wraps. Source: WDK."""
    v = RunRef._v
    if not v.Count & ACTIVE:
        v.Count = (v.Count - Count * ONE) & _MASK
        return
    block = v.Count & ~ACTIVE
    left = (nt.read_pointer(block) - Count) & _MASK
    nt.write_pointer(block, left)
    if not left:
        KeSetEvent(nt, KEVENT.at(nt.mmu, block + 8), 0, False)


@export(irql="<= APC")
def ExWaitForRundownProtectionRelease(nt: Kernel, RunRef: PEX_RUNDOWN_REF) -> None:
    """Let nobody in any more and wait until the last reference is gone. Source: WDK."""
    v = RunRef._v
    if v.Count in (0, ACTIVE):
        v.Count = ACTIVE
        return
    block = nt.allocate_pool(WAIT_BLOCK_SIZE, "ExRr")
    event = KEVENT.at(nt.mmu, block + 8)
    nt.write_pointer(block, v.Count // ONE)
    KeInitializeEvent(nt, event, SYNCHRONIZATION_EVENT, False)
    v.Count = block | ACTIVE
    ki_wait(nt, [int(event)], WAIT_ANY, WR_RUNDOWN, 0, False, None)
    nt.free_pool(block)


@export(irql="<= APC")
def ExRundownCompleted(nt: Kernel, RunRef: PEX_RUNDOWN_REF) -> None:
    """Run down for good: nobody waits, nobody gets in. Source: WDK ExRundownCompleted."""
    RunRef._v.Count = ACTIVE
