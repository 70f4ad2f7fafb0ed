"""The kernel's own queued spin locks, by number.

Each processor has a queue entry for every lock in its KPRCB.LockQueue, whose Lock field points at
the lock. Source: ReactOS kmtests KeSpinLock.c (levels, results), ntoskrnl/ke/spinlock.c; wdm.h
KSPIN_LOCK_QUEUE_NUMBER.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi.scalars import BOOLEAN, KIRQL, ULONG
from ntsim.abi.types import REGISTRY, pointer_to
from ntsim.nt.exports import Out, export
from ntsim.nt.ke.irql import DISPATCH_LEVEL, SYNCH_LEVEL, set_irql
from ntsim.nt.ke.spinlock import (
    kx_acquire_spin_lock,
    kx_release_spin_lock,
)
from ntsim.nt.mm.variables import mi_variable

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

LOCKS = 17


def ki_numbered_lock(nt: Kernel, number: int) -> Any:
    """A lock; the queue entry of the current processor points at it."""
    number %= LOCKS
    lock = mi_variable(nt, "KiQueuedSpinLocks", 8 * LOCKS) + 8 * number
    entry: Any = nt.prcb[nt.il.current.number].LockQueue[number]
    if entry._v.Lock & ~3 != lock:
        entry._v.Lock = lock
    return pointer_to(REGISTRY["KSPIN_LOCK"], nt.mmu, lock)


@export(irql="<= DISPATCH")
def KeAcquireQueuedSpinLock(nt: Kernel, Number: ULONG) -> KIRQL:
    """Raise to DISPATCH_LEVEL and acquire; the old level. Source: ntosp.h; kmtests KeSpinLock.c."""
    old: int = set_irql(nt, DISPATCH_LEVEL, "KeAcquireQueuedSpinLock")
    kx_acquire_spin_lock(nt, ki_numbered_lock(nt, Number))
    return old


@export(irql="<= SYNCH")
def KeAcquireQueuedSpinLockRaiseToSynch(nt: Kernel, Number: ULONG) -> KIRQL:
    """The same, up to SYNCH_LEVEL (12). Source: kmtests KeSpinLock.c."""
    old: int = set_irql(nt, SYNCH_LEVEL, "KeAcquireQueuedSpinLockRaiseToSynch")
    kx_acquire_spin_lock(nt, ki_numbered_lock(nt, Number))
    return old


@export(irql=">= DISPATCH")
def KeReleaseQueuedSpinLock(nt: Kernel, Number: ULONG, OldIrql: KIRQL) -> None:
    """Release and lower. Source: kmtests KeSpinLock.c."""
    kx_release_spin_lock(nt, ki_numbered_lock(nt, Number))
    set_irql(nt, OldIrql, "KeReleaseQueuedSpinLock")


def ki_try(nt: Kernel, number: int, level: int, old_irql: Out[KIRQL], name: str) -> bool:
    """Raise and acquire if the lock is free; the level goes back if it is not."""
    old_irql[0] = old = set_irql(nt, level, name)
    lock = ki_numbered_lock(nt, number)
    if lock[0] & 1:
        set_irql(nt, old, name)
        return False
    kx_acquire_spin_lock(nt, lock)
    return True


@export(irql="<= DISPATCH")
def KeTryToAcquireQueuedSpinLock(nt: Kernel, Number: ULONG, OldIrql: Out[KIRQL]) -> BOOLEAN:
    """Acquire without waiting; FALSE with the level as it was. Source: kmtests KeSpinLock.c."""
    return ki_try(nt, Number, DISPATCH_LEVEL, OldIrql, "KeTryToAcquireQueuedSpinLock")


@export(irql="<= SYNCH")
def KeTryToAcquireQueuedSpinLockRaiseToSynch(
    nt: Kernel, Number: ULONG, OldIrql: Out[KIRQL]
) -> BOOLEAN:
    """The same, up to SYNCH_LEVEL. Source: kmtests KeSpinLock.c."""
    return ki_try(nt, Number, SYNCH_LEVEL, OldIrql, "KeTryToAcquireQueuedSpinLockRaiseToSynch")
