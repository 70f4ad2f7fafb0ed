"""Executive spin locks: a KSPIN_LOCK is 0 when free and has bit 0 set when held.

Re-acquiring a held lock spins for ever on a free build; the watchdogs find it (0x133, 0x101).
Source: WDK "Introduction to Spin Locks"; ReactOS kmtests KeSpinLock.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi.scalars import BOOLEAN, KIRQL
from ntsim.nt.events import SpinLockAcquired, SpinLockReleased
from ntsim.nt.exports import Out, export
from ntsim.nt.ke.irql import DISPATCH_LEVEL, SYNCH_LEVEL, set_irql

if TYPE_CHECKING:
    from ntsim.abi.ke import PKLOCK_QUEUE_HANDLE
    from ntsim.nt.kernel import Kernel

    PKSPIN_LOCK = Any


def kx_acquire_spin_lock(nt: Kernel, lock: Any) -> None:
    """Spin until the lock's bit 0 was clear, then set it."""
    while lock[0] & 1:
        nt.il.spin()
    lock[0] = 1
    nt.emit_at(SpinLockAcquired, int(lock))


def kx_release_spin_lock(nt: Kernel, lock: Any) -> None:
    lock[0] = 0
    nt.emit_at(SpinLockReleased, int(lock))


@export(irql="any")
def KeInitializeSpinLock(nt: Kernel, SpinLock: PKSPIN_LOCK) -> None:
    """Make the lock free. Source: WDK KeInitializeSpinLock."""
    SpinLock[0] = 0


@export(irql="<= DISPATCH", inline=True)
def KeAcquireSpinLock(nt: Kernel, SpinLock: PKSPIN_LOCK, OldIrql: Out[KIRQL]) -> None:
    """Raise to DISPATCH_LEVEL and acquire. Source: WDK KeAcquireSpinLock."""
    OldIrql[0] = KeAcquireSpinLockRaiseToDpc(nt, SpinLock)


@export(irql="<= DISPATCH")
def KeAcquireSpinLockRaiseToDpc(nt: Kernel, SpinLock: PKSPIN_LOCK) -> KIRQL:
    """What KeAcquireSpinLock expands to on x64: returns the old IRQL. Source: wdm.h."""
    old = set_irql(nt, DISPATCH_LEVEL, "KeAcquireSpinLock")
    kx_acquire_spin_lock(nt, SpinLock)
    return old


@export(irql="== DISPATCH")
def KeReleaseSpinLock(nt: Kernel, SpinLock: PKSPIN_LOCK, NewIrql: KIRQL) -> None:
    """Release and lower to NewIrql. Source: WDK KeReleaseSpinLock."""
    kx_release_spin_lock(nt, SpinLock)
    set_irql(nt, NewIrql, "KeReleaseSpinLock")


@export(irql=">= DISPATCH")
def KeAcquireSpinLockAtDpcLevel(nt: Kernel, SpinLock: PKSPIN_LOCK) -> None:
    """Acquire without touching the IRQL. Source: WDK KeAcquireSpinLockAtDpcLevel."""
    kx_acquire_spin_lock(nt, SpinLock)


@export(irql=">= DISPATCH")
def KeReleaseSpinLockFromDpcLevel(nt: Kernel, SpinLock: PKSPIN_LOCK) -> None:
    """Release without touching the IRQL. Source: WDK KeReleaseSpinLockFromDpcLevel."""
    kx_release_spin_lock(nt, SpinLock)


@export(irql=">= DISPATCH")
def KeTryToAcquireSpinLockAtDpcLevel(nt: Kernel, SpinLock: PKSPIN_LOCK) -> BOOLEAN:
    """Acquire if free; TRUE if acquired. Source: WDK KeTryToAcquireSpinLockAtDpcLevel."""
    if SpinLock[0] & 1:
        return False
    kx_acquire_spin_lock(nt, SpinLock)
    return True


@export(irql="any")
def KeTestSpinLock(nt: Kernel, SpinLock: PKSPIN_LOCK) -> BOOLEAN:
    """TRUE if the lock word is 0, which no queued one that is held is either. Source: WDK; kmtests
    KeSpinLock.c.
    """
    return not SpinLock[0]


def kx_acquire_queued_spin_lock(nt: Kernel, lock: Any, handle: PKLOCK_QUEUE_HANDLE) -> None:
    """In-stack queued: while held, the lock word is the address of the last waiter's handle."""
    handle._v.LockQueue_Next = 0
    handle._v.LockQueue_Lock = int(lock)
    while lock[0]:
        nt.il.spin()
    lock[0] = int(handle)
    nt.emit_at(SpinLockAcquired, int(lock))


def kx_release_queued_spin_lock(nt: Kernel, handle: PKLOCK_QUEUE_HANDLE) -> None:
    lock = int(handle._v.LockQueue_Lock) & ~3
    nt.write_pointer(lock, 0)
    nt.emit_at(SpinLockReleased, lock)


@export(irql="<= DISPATCH")
def KeAcquireInStackQueuedSpinLock(
    nt: Kernel, SpinLock: PKSPIN_LOCK, LockHandle: PKLOCK_QUEUE_HANDLE
) -> None:
    """Raise to DISPATCH_LEVEL and acquire; the handle keeps the old IRQL. Source: WDK."""
    LockHandle.OldIrql = set_irql(nt, DISPATCH_LEVEL, "KeAcquireInStackQueuedSpinLock")
    kx_acquire_queued_spin_lock(nt, SpinLock, LockHandle)


@export(irql="== DISPATCH")
def KeReleaseInStackQueuedSpinLock(nt: Kernel, LockHandle: PKLOCK_QUEUE_HANDLE) -> None:
    """Release and lower to the handle's old IRQL. Source: WDK."""
    kx_release_queued_spin_lock(nt, LockHandle)
    set_irql(nt, LockHandle.OldIrql, "KeReleaseInStackQueuedSpinLock")


@export(irql=">= DISPATCH")
def KeAcquireInStackQueuedSpinLockAtDpcLevel(
    nt: Kernel, SpinLock: PKSPIN_LOCK, LockHandle: PKLOCK_QUEUE_HANDLE
) -> None:
    """Acquire without touching the IRQL. Source: WDK."""
    kx_acquire_queued_spin_lock(nt, SpinLock, LockHandle)


@export(irql=">= DISPATCH")
def KeReleaseInStackQueuedSpinLockFromDpcLevel(nt: Kernel, LockHandle: PKLOCK_QUEUE_HANDLE) -> None:
    """Release without touching the IRQL. Source: WDK."""
    kx_release_queued_spin_lock(nt, LockHandle)


@export(irql="<= DISPATCH")
def KeAcquireSpinLockForDpc(nt: Kernel, SpinLock: PKSPIN_LOCK) -> KIRQL:
    """Acquire in a DPC of either kind: returns the IRQL, which only a threaded DPC below
    DISPATCH_LEVEL has raised, and those run at DISPATCH_LEVEL here. A thread is not raised.

    Source: WDK KeAcquireSpinLockForDpc; openzfsonwindows/ZFSin pull request 221 for threads.
    """
    kx_acquire_spin_lock(nt, SpinLock)
    return nt.il.current.cr8


@export(irql="<= DISPATCH")
def KeReleaseSpinLockForDpc(nt: Kernel, SpinLock: PKSPIN_LOCK, OldIrql: KIRQL) -> None:
    """Release; there was no raise to undo. Source: WDK KeReleaseSpinLockForDpc."""
    kx_release_spin_lock(nt, SpinLock)


@export(irql="<= DISPATCH")
def KeAcquireInStackQueuedSpinLockForDpc(
    nt: Kernel, SpinLock: PKSPIN_LOCK, LockHandle: PKLOCK_QUEUE_HANDLE
) -> None:
    """KeAcquireSpinLockForDpc for a queued spin lock; the handle keeps the IRQL. Source: WDK."""
    LockHandle.OldIrql = nt.il.current.cr8
    kx_acquire_queued_spin_lock(nt, SpinLock, LockHandle)


@export(irql="<= DISPATCH")
def KeReleaseInStackQueuedSpinLockForDpc(nt: Kernel, LockHandle: PKLOCK_QUEUE_HANDLE) -> None:
    """KeReleaseSpinLockForDpc for a queued spin lock. Source: WDK."""
    kx_release_queued_spin_lock(nt, LockHandle)


@export(irql="any")
def KeAcquireSpinLockRaiseToSynch(nt: Kernel, SpinLock: PKSPIN_LOCK) -> KIRQL:
    """Raise to SYNCH_LEVEL and acquire; returns the old IRQL. Source: ntifs.h."""
    old = set_irql(nt, SYNCH_LEVEL, "KeAcquireSpinLockRaiseToSynch")
    kx_acquire_spin_lock(nt, SpinLock)
    return old


@export(irql="any")
def KeAcquireInStackQueuedSpinLockRaiseToSynch(
    nt: Kernel, SpinLock: PKSPIN_LOCK, LockHandle: PKLOCK_QUEUE_HANDLE
) -> None:
    """Raise to SYNCH_LEVEL and acquire; the handle keeps the old IRQL. Source: ntifs.h."""
    routine = "KeAcquireInStackQueuedSpinLockRaiseToSynch"
    LockHandle.OldIrql = set_irql(nt, SYNCH_LEVEL, routine)
    kx_acquire_queued_spin_lock(nt, SpinLock, LockHandle)
