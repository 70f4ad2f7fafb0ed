"""Remove locks: count the operations under way on a device, and wait for them before it goes.

IoCount is 1 from the start; it reaches 0 when the device is being removed and the last operation is
over. The free build ignores tags, times and counts. Source: WDK "Using Remove Locks"; wdm.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import NTSTATUS, PVOID, ULONG
from ntsim.nt.exports import export
from ntsim.nt.ke.objects import KeInitializeEvent, KeSetEvent
from ntsim.nt.ke.wait import SYNCHRONIZATION_EVENT, WAIT_ANY, ki_wait

if TYPE_CHECKING:
    from ntsim.abi.io import PIO_REMOVE_LOCK
    from ntsim.nt.kernel import Kernel

EXECUTIVE = 0
"""KWAIT_REASON."""


def release(nt: Kernel, lock: PIO_REMOVE_LOCK) -> int:
    """One operation less; the last one wakes the remover."""
    v = lock._v
    v.Common_IoCount -= 1
    count: int = v.Common_IoCount
    if count == 0:
        KeSetEvent(nt, lock.Common.RemoveEvent, 0, False)
    return count


@export(irql="== PASSIVE")
def IoInitializeRemoveLockEx(
    nt: Kernel,
    Lock: PIO_REMOVE_LOCK,
    AllocateTag: ULONG,
    MaxLockedMinutes: ULONG,
    HighWatermark: ULONG,
    RemlockSize: ULONG,
) -> None:
    """A lock that nobody holds. Source: WDK IoInitializeRemoveLock."""
    v = Lock._v
    v.Common_Removed, v.Common_IoCount = 0, 1
    KeInitializeEvent(nt, Lock.Common.RemoveEvent, SYNCHRONIZATION_EVENT, False)


@export(irql="== PASSIVE", inline=True)
def IoInitializeRemoveLock(
    nt: Kernel,
    Lock: PIO_REMOVE_LOCK,
    AllocateTag: ULONG,
    MaxLockedMinutes: ULONG,
    HighWatermark: ULONG,
) -> None:
    """IoInitializeRemoveLockEx with the structure's size. Source: WDK IoInitializeRemoveLock."""
    IoInitializeRemoveLockEx(nt, Lock, AllocateTag, MaxLockedMinutes, HighWatermark, Lock.size)


@export(irql="<= DISPATCH")
def IoAcquireRemoveLockEx(
    nt: Kernel,
    RemoveLock: PIO_REMOVE_LOCK,
    Tag: PVOID,
    File: PVOID,
    Line: ULONG,
    RemlockSize: ULONG,
) -> NTSTATUS:
    """One operation more; STATUS_DELETE_PENDING if the device is being removed. Source: WDK."""
    RemoveLock._v.Common_IoCount += 1
    if not RemoveLock._v.Common_Removed:
        return ntstatus.STATUS_SUCCESS
    release(nt, RemoveLock)
    return ntstatus.STATUS_DELETE_PENDING


@export(irql="<= DISPATCH", inline=True)
def IoAcquireRemoveLock(nt: Kernel, RemoveLock: PIO_REMOVE_LOCK, Tag: PVOID) -> NTSTATUS:
    """One operation more; STATUS_DELETE_PENDING if the device is being removed. Source: WDK."""
    return IoAcquireRemoveLockEx(nt, RemoveLock, Tag, 0, 0, RemoveLock.size)


@export(irql="any")
def IoReleaseRemoveLockEx(
    nt: Kernel, RemoveLock: PIO_REMOVE_LOCK, Tag: PVOID, RemlockSize: ULONG
) -> None:
    """One operation less. Source: WDK IoReleaseRemoveLock."""
    release(nt, RemoveLock)


@export(irql="<= DISPATCH", inline=True)
def IoReleaseRemoveLock(nt: Kernel, RemoveLock: PIO_REMOVE_LOCK, Tag: PVOID) -> None:
    """One operation less. Source: WDK IoReleaseRemoveLock."""
    release(nt, RemoveLock)


@export(irql="== PASSIVE")
def IoReleaseRemoveLockAndWaitEx(
    nt: Kernel, RemoveLock: PIO_REMOVE_LOCK, Tag: PVOID, RemlockSize: ULONG
) -> None:
    """Refuse new operations, release the caller's own and wait for all others. Source: WDK."""
    v = RemoveLock._v
    v.Common_Removed = 1
    release(nt, RemoveLock)
    v.Common_IoCount -= 1
    if v.Common_IoCount > 0:
        event = int(RemoveLock.Common.RemoveEvent)
        ki_wait(nt, [event], WAIT_ANY, EXECUTIVE, 0, False, None)


@export(irql="== PASSIVE", inline=True)
def IoReleaseRemoveLockAndWait(nt: Kernel, RemoveLock: PIO_REMOVE_LOCK, Tag: PVOID) -> None:
    """IoReleaseRemoveLockAndWaitEx with the structure's size. Source: WDK."""
    IoReleaseRemoveLockAndWaitEx(nt, RemoveLock, Tag, RemoveLock.size)
