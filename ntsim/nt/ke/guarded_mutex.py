"""Guarded mutexes: fast mutexes whose owner is in a guarded region instead of at APC_LEVEL.

A KGUARDED_MUTEX has been the same structure as a FAST_MUTEX since Windows 8; the IRQL does not
change, so the owner may call what asks for PASSIVE_LEVEL. Source: WDK "Fast Mutexes and Guarded
Mutexes"; ReactOS kmtests KeGuardedMutex.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import BOOLEAN
from ntsim.nt.ex.fast_mutex import (
    WR_GUARDED_MUTEX,
    ExInitializeFastMutex,
    ke_acquire_fast_mutex,
    ke_release_fast_mutex,
    ke_try_fast_mutex,
)
from ntsim.nt.exports import export
from ntsim.nt.ki.apc import KeEnterGuardedRegion, KeLeaveGuardedRegion

if TYPE_CHECKING:
    from ntsim.abi.ex import PFAST_MUTEX
    from ntsim.nt.kernel import Kernel


@export(irql="<= APC")
def KeInitializeGuardedMutex(nt: Kernel, Mutex: PFAST_MUTEX) -> None:
    """A free guarded mutex. Source: WDK KeInitializeGuardedMutex."""
    ExInitializeFastMutex(nt, Mutex)


@export(irql="<= APC")
def KeAcquireGuardedMutex(nt: Kernel, Mutex: PFAST_MUTEX) -> None:
    """Enter a guarded region and acquire; an owner that asks again waits for ever. Source: WDK."""
    KeEnterGuardedRegion(nt)
    ke_acquire_fast_mutex(nt, Mutex, WR_GUARDED_MUTEX)


@export(irql="<= APC")
def KeTryToAcquireGuardedMutex(nt: Kernel, Mutex: PFAST_MUTEX) -> BOOLEAN:
    """As KeAcquireGuardedMutex if the mutex is free, else FALSE, in no region. Source: WDK."""
    KeEnterGuardedRegion(nt)
    if ke_try_fast_mutex(nt, Mutex, WR_GUARDED_MUTEX):
        return True
    KeLeaveGuardedRegion(nt)
    return False


@export(irql="<= APC")
def KeReleaseGuardedMutex(nt: Kernel, Mutex: PFAST_MUTEX) -> None:
    """Release and leave the guarded region. Source: WDK KeReleaseGuardedMutex."""
    ke_release_fast_mutex(nt, Mutex, WR_GUARDED_MUTEX)
    KeLeaveGuardedRegion(nt)


@export(irql="<= APC")
def KeAcquireGuardedMutexUnsafe(nt: Kernel, FastMutex: PFAST_MUTEX) -> None:
    """Acquire for a caller that is in a guarded region or at APC_LEVEL already. Source: WDK."""
    ke_acquire_fast_mutex(nt, FastMutex, WR_GUARDED_MUTEX)


@export(irql="<= APC")
def KeReleaseGuardedMutexUnsafe(nt: Kernel, FastMutex: PFAST_MUTEX) -> None:
    """Release without leaving a region. Source: WDK KeReleaseGuardedMutexUnsafe."""
    ke_release_fast_mutex(nt, FastMutex, WR_GUARDED_MUTEX)
