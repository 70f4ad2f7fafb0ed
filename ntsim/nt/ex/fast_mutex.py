"""Fast mutexes: ExAcquireFastMutex and its family.

FAST_MUTEX.Count has bit 0 set while the mutex is free, bit 1 while a woken waiter is on its way and
the number of waiters above. A mutex is not handed over: who comes first after a release gets it,
and a woken thread that is too late waits again. The routines without "Unsafe" raise to APC_LEVEL,
so that no APC of the owner can run; nothing keeps a thread from waiting for itself. Source: WDK
"Fast Mutexes and Guarded Mutexes"; ReactOS kmtests ExFastMutex.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import BOOLEAN
from ntsim.nt.events import LockAcquired, LockReleased
from ntsim.nt.exports import export
from ntsim.nt.ke.auto_boost import ki_ab_acquire, ki_ab_release
from ntsim.nt.ke.irql import APC_LEVEL, set_irql
from ntsim.nt.ke.objects import KeInitializeEvent, KeSetEvent
from ntsim.nt.ke.wait import SYNCHRONIZATION_EVENT, WAIT_ANY, ki_wait
from ntsim.nt.ki.apc import KeEnterCriticalRegion, KeLeaveCriticalRegion

if TYPE_CHECKING:
    from ntsim.abi.ex import PFAST_MUTEX
    from ntsim.nt.kernel import Kernel

FREE, WOKEN, WAITER = 1, 2, 4
"""Parts of FAST_MUTEX.Count: not acquired, a waiter was woken, one waiter."""

WR_FAST_MUTEX, WR_GUARDED_MUTEX = 34, 35
EVENT_INCREMENT = 1
_KINDS = {WR_FAST_MUTEX: "fast mutex", WR_GUARDED_MUTEX: "guarded mutex"}


def ke_acquire_fast_mutex(nt: Kernel, mutex: PFAST_MUTEX, reason: int = WR_FAST_MUTEX) -> None:
    """Take the mutex, waiting as often as another thread is faster; the IRQL is the caller's."""
    ki_ab_acquire(nt, int(mutex))
    v = mutex._v
    take, join = FREE, WAITER
    while not v.Count & FREE:
        v.Count += join
        v.Contention += 1
        ki_wait(nt, [int(mutex.Event)], WAIT_ANY, reason, 0, False, None)
        take, join = FREE | WOKEN, WAITER - WOKEN
    v.Count ^= take
    v.Owner = nt.thread.va
    nt.emit_at(LockAcquired, _KINDS[reason], int(mutex))


def ke_try_fast_mutex(nt: Kernel, mutex: PFAST_MUTEX, reason: int = WR_FAST_MUTEX) -> bool:
    """Take the mutex if it is free."""
    v = mutex._v
    if not v.Count & FREE:
        return False
    ki_ab_acquire(nt, int(mutex))
    v.Count &= ~FREE
    v.Owner = nt.thread.va
    nt.emit_at(LockAcquired, _KINDS[reason], int(mutex))
    return True


def ke_release_fast_mutex(nt: Kernel, mutex: PFAST_MUTEX, reason: int = WR_FAST_MUTEX) -> None:
    """Free the mutex and wake one waiter, if none was woken already; 0x162 if it is not held."""
    ki_ab_release(nt, int(mutex))
    v = mutex._v
    nt.emit_at(LockReleased, _KINDS[reason], int(mutex))
    v.Owner = 0
    v.Count |= FREE
    if v.Count >= WAITER and not v.Count & WOKEN:
        v.Count += WOKEN - WAITER
        KeSetEvent(nt, mutex.Event, EVENT_INCREMENT, False)


@export(irql="<= DISPATCH", inline=True)
def ExInitializeFastMutex(nt: Kernel, FastMutex: PFAST_MUTEX) -> None:
    """A free fast mutex. Source: WDK ExInitializeFastMutex; wdm.h."""
    v = FastMutex._v
    v.Count, v.Owner, v.Contention = FREE, 0, 0
    KeInitializeEvent(nt, FastMutex.Event, SYNCHRONIZATION_EVENT, False)


@export(irql="<= APC")
def ExAcquireFastMutex(nt: Kernel, FastMutex: PFAST_MUTEX) -> None:
    """Raise to APC_LEVEL and acquire; the mutex keeps the old IRQL. Source: WDK.

    Called at DISPATCH_LEVEL it lowers, silently; a thread that owns the mutex waits for ever.
    """
    old = set_irql(nt, APC_LEVEL, "ExAcquireFastMutex")
    ke_acquire_fast_mutex(nt, FastMutex)
    FastMutex._v.OldIrql = old


@export(irql="<= APC")
def ExTryToAcquireFastMutex(nt: Kernel, FastMutex: PFAST_MUTEX) -> BOOLEAN:
    """ExAcquireFastMutex if the mutex is free, else FALSE and the IRQL as before. Source: WDK."""
    old = set_irql(nt, APC_LEVEL, "ExTryToAcquireFastMutex")
    if ke_try_fast_mutex(nt, FastMutex):
        FastMutex._v.OldIrql = old
        return True
    set_irql(nt, old, "ExTryToAcquireFastMutex")
    return False


@export(irql="== APC")
def ExReleaseFastMutex(nt: Kernel, FastMutex: PFAST_MUTEX) -> None:
    """Release and go back to the IRQL that the mutex kept. Source: WDK ExReleaseFastMutex."""
    old = FastMutex._v.OldIrql & 0xFF
    ke_release_fast_mutex(nt, FastMutex)
    set_irql(nt, old, "ExReleaseFastMutex")


@export(irql="== APC, or inside a critical region")
def ExAcquireFastMutexUnsafe(nt: Kernel, FastMutex: PFAST_MUTEX) -> None:
    """Acquire without touching the IRQL. Source: WDK ExAcquireFastMutexUnsafe."""
    ke_acquire_fast_mutex(nt, FastMutex)


@export(irql="== APC, or inside a critical region")
def ExReleaseFastMutexUnsafe(nt: Kernel, FastMutex: PFAST_MUTEX) -> None:
    """Release without touching the IRQL. Source: WDK ExReleaseFastMutexUnsafe."""
    ke_release_fast_mutex(nt, FastMutex)


@export(irql="<= APC")
def ExEnterCriticalRegionAndAcquireFastMutexUnsafe(nt: Kernel, FastMutex: PFAST_MUTEX) -> None:
    """Both in one, without touching the IRQL. Exported, in no header.

    Source: kmtests ExFastMutex.c.
    """
    KeEnterCriticalRegion(nt)
    ke_acquire_fast_mutex(nt, FastMutex)


@export(irql="<= APC")
def ExReleaseFastMutexUnsafeAndLeaveCriticalRegion(nt: Kernel, FastMutex: PFAST_MUTEX) -> None:
    """Undo ExEnterCriticalRegionAndAcquireFastMutexUnsafe. Source: kmtests ExFastMutex.c."""
    ke_release_fast_mutex(nt, FastMutex)
    KeLeaveCriticalRegion(nt)
