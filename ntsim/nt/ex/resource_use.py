"""Acquiring, releasing and asking about executive resources; `resource.py` has the mechanism.

Ownership does not disable APCs: callers enter a critical region first, which a free build does not
check. Source: WDK "Introduction to ERESOURCE Routines"; ReactOS kmtests ExResource.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import bugcodes
from ntsim.abi.scalars import BOOLEAN, PVOID, ULONG, ULONG_PTR
from ntsim.nt.ex.resource import (
    DISABLE_BOOST,
    OWNED_EXCLUSIVE,
    exp_acquire_exclusive,
    exp_acquire_shared,
    exp_release,
    find_owner,
    grant_shared,
    not_owned,
    owner_count,
)
from ntsim.nt.exports import export
from ntsim.nt.ki.apc import KeEnterCriticalRegion, KeLeaveCriticalRegion

if TYPE_CHECKING:
    from ntsim.abi.ex import PERESOURCE
    from ntsim.nt.kernel import Kernel

OWNER_POINTER = 3
"""Low bits that tell an owner pointer from a thread."""

OWNER_POINTER_IS_THREAD = 1
"""Flag of ExSetResourceOwnerPointerEx."""


@export(irql="<= APC")
def ExAcquireResourceExclusiveLite(nt: Kernel, Resource: PERESOURCE, Wait: BOOLEAN) -> BOOLEAN:
    """Hold the resource alone, again if the thread does; FALSE if it must wait and may not.

    A thread that shares it and waits here waits for itself. Source: WDK.
    """
    return exp_acquire_exclusive(nt, Resource, bool(Wait))


@export(irql="<= DISPATCH")
def ExTryToAcquireResourceExclusiveLite(nt: Kernel, Resource: PERESOURCE) -> BOOLEAN:
    """ExAcquireResourceExclusiveLite without waiting. Source: wdm.h."""
    return exp_acquire_exclusive(nt, Resource, False)


@export(irql="<= APC")
def ExAcquireResourceSharedLite(nt: Kernel, Resource: PERESOURCE, Wait: BOOLEAN) -> BOOLEAN:
    """Share the resource; a new sharer stands behind exclusive waiters, an old one does not.

    Source: WDK ExAcquireResourceSharedLite.
    """
    shares = find_owner(Resource, nt.thread.va) is not None
    return exp_acquire_shared(nt, Resource, bool(Wait), not shares)


@export(irql="<= APC")
def ExAcquireSharedStarveExclusive(nt: Kernel, Resource: PERESOURCE, Wait: BOOLEAN) -> BOOLEAN:
    """Share the resource, past whoever waits to hold it alone. Source: WDK."""
    return exp_acquire_shared(nt, Resource, bool(Wait), False)


@export(irql="<= APC")
def ExAcquireSharedWaitForExclusive(nt: Kernel, Resource: PERESOURCE, Wait: BOOLEAN) -> BOOLEAN:
    """Share the resource after every exclusive waiter, even if the thread shares it now.

    A thread that shares it while another waits for it alone waits for ever. Source: WDK.
    """
    return exp_acquire_shared(nt, Resource, bool(Wait), True)


@export(irql="<= DISPATCH")
def ExReleaseResourceLite(nt: Kernel, Resource: PERESOURCE) -> None:
    """Undo one acquisition of the current thread; 0xE3 if it has none. Source: WDK."""
    exp_release(nt, Resource, nt.thread.va)


@export(irql="<= DISPATCH")
def ExReleaseResourceForThreadLite(
    nt: Kernel, Resource: PERESOURCE, ResourceThreadId: ULONG_PTR
) -> None:
    """Undo an acquisition of a thread or owner pointer; 0x16E if it has none. Source: WDK."""
    exp_release(nt, Resource, ResourceThreadId)


@export(irql="<= DISPATCH")
def ExConvertExclusiveToSharedLite(nt: Kernel, Resource: PERESOURCE) -> None:
    """The exclusive owner becomes a sharer, and waiting sharers come in. Source: WDK."""
    Resource._v.Flag &= ~OWNED_EXCLUSIVE
    grant_shared(nt, Resource)


@export(irql="<= APC")
def ExEnterCriticalRegionAndAcquireResourceExclusive(nt: Kernel, Resource: PERESOURCE) -> PVOID:
    """Both, waiting; returns the thread's Win32Thread. Source: WDK."""
    KeEnterCriticalRegion(nt)
    exp_acquire_exclusive(nt, Resource, True)
    return int(nt.thread.v.Win32Thread)


@export(irql="<= APC")
def ExEnterCriticalRegionAndAcquireResourceShared(nt: Kernel, Resource: PERESOURCE) -> PVOID:
    """Both, waiting; returns the thread's Win32Thread. Source: WDK."""
    KeEnterCriticalRegion(nt)
    ExAcquireResourceSharedLite(nt, Resource, True)
    return int(nt.thread.v.Win32Thread)


@export(irql="<= APC")
def ExEnterCriticalRegionAndAcquireSharedWaitForExclusive(
    nt: Kernel, Resource: PERESOURCE
) -> PVOID:
    """Both, waiting; returns the thread's Win32Thread. Source: WDK."""
    KeEnterCriticalRegion(nt)
    exp_acquire_shared(nt, Resource, True, True)
    return int(nt.thread.v.Win32Thread)


@export(irql="<= DISPATCH")
def ExReleaseResourceAndLeaveCriticalRegion(nt: Kernel, Resource: PERESOURCE) -> None:
    """Both. Source: WDK ExReleaseResourceAndLeaveCriticalRegion."""
    exp_release(nt, Resource, nt.thread.va)
    KeLeaveCriticalRegion(nt)


@export(irql="<= DISPATCH")
def ExIsResourceAcquiredExclusiveLite(nt: Kernel, Resource: PERESOURCE) -> BOOLEAN:
    """Whether the current thread holds the resource alone. Source: WDK."""
    v = Resource._v
    return bool(v.Flag & OWNED_EXCLUSIVE and v.OwnerEntry_OwnerThread == nt.thread.va)


@export(irql="<= DISPATCH", aliases=("ExIsResourceAcquiredLite", "ExIsResourceAcquired"))
def ExIsResourceAcquiredSharedLite(nt: Kernel, Resource: PERESOURCE) -> ULONG:
    """How often the current thread holds the resource, shared or alone. Source: WDK."""
    mine = find_owner(Resource, nt.thread.va)
    return 0 if mine is None else owner_count(mine)


@export(irql="<= DISPATCH")
def ExGetExclusiveWaiterCount(nt: Kernel, Resource: PERESOURCE) -> ULONG:
    """How many threads wait to hold it alone. Source: WDK ExGetExclusiveWaiterCount."""
    return int(Resource._v.NumberOfExclusiveWaiters)


@export(irql="<= DISPATCH")
def ExGetSharedWaiterCount(nt: Kernel, Resource: PERESOURCE) -> ULONG:
    """How many threads wait to share it. Source: WDK ExGetSharedWaiterCount."""
    return int(Resource._v.NumberOfSharedWaiters)


@export(irql="<= DISPATCH", inline=True)
def ExGetCurrentResourceThread(nt: Kernel) -> ULONG_PTR:
    """The current thread as an owner of resources. Source: wdm.h."""
    return nt.thread.va


@export(irql="<= DISPATCH")
def ExDisableResourceBoostLite(nt: Kernel, Resource: PERESOURCE) -> None:
    """Owners of this resource are not boosted. Source: WDK ExDisableResourceBoostLite."""
    Resource._v.Flag |= DISABLE_BOOST


@export(irql="<= DISPATCH")
def ExSetResourceOwnerPointer(nt: Kernel, Resource: PERESOURCE, OwnerPointer: PVOID) -> None:
    """Give the current thread's hold to OwnerPointer, whose two low bits must be set (0x132).

    Any thread may then release it with ExReleaseResourceForThreadLite. Source: WDK.
    """
    ExSetResourceOwnerPointerEx(nt, Resource, OwnerPointer, 0)


@export(irql="<= DISPATCH")
def ExSetResourceOwnerPointerEx(
    nt: Kernel, Resource: PERESOURCE, OwnerPointer: PVOID, Flags: ULONG
) -> None:
    """ExSetResourceOwnerPointer; with flag 1 the new owner is a thread. Source: WDK."""
    owner = int(OwnerPointer)
    wanted = 0 if Flags & OWNER_POINTER_IS_THREAD else OWNER_POINTER
    if owner & OWNER_POINTER != wanted:
        code = bugcodes.RESOURCE_OWNER_POINTER_INVALID
        nt.bugcheck(code, int(Resource), Resource._v.OwnerTable, nt.thread.va, owner)
    mine = find_owner(Resource, nt.thread.va)
    if mine is None:
        not_owned(nt, Resource, nt.thread.va)
    mine._v.OwnerThread = owner
