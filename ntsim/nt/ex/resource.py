"""Executive resources: ERESOURCE, a lock that many threads share or one holds exclusively.

The owners are bytes: OwnerEntry is the exclusive or the first shared owner, OwnerTable the others
(its entry 0 holds only the table's size); bits 31:3 of an entry's TableSize count how often its
owner holds the resource. A release hands the resource on: to every waiting sharer when an exclusive
owner leaves, to one exclusive waiter when the last sharer does. All resources are linked in the
list that ExDeleteResourceLite must take them from. Source: WDK "Introduction to ERESOURCE
Routines"; ReactOS kmtests ExResource.c and ntoskrnl/ex/resource.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

from ntsim.abi import bugcodes, ntstatus
from ntsim.abi.ex import ERESOURCE, OWNER_ENTRY
from ntsim.abi.ke import KEVENT, KSEMAPHORE
from ntsim.abi.scalars import NTSTATUS
from ntsim.nt.events import LockAcquired, LockReleased, ResourceInitialized
from ntsim.nt.exports import export
from ntsim.nt.ke.auto_boost import ke_ab_pre_acquire
from ntsim.nt.ke.irql import DISPATCH_LEVEL, set_irql
from ntsim.nt.ke.objects import (
    KeInitializeEvent,
    KeInitializeSemaphore,
    KeReleaseSemaphore,
    KeSetEvent,
)
from ntsim.nt.ke.wait import SYNCHRONIZATION_EVENT, WAIT_ANY, ki_wait
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.abi.ex import PERESOURCE, POWNER_ENTRY
    from ntsim.nt.kernel import Kernel

OWNED_EXCLUSIVE, DISABLE_BOOST = 0x80, 0x08
"""Bits of ERESOURCE.Flag."""

COUNT_SHIFT = 3
"""OWNER_ENTRY.TableSize: the owner count stands above three flags."""

TABLE_STEP = 4
WR_RESOURCE = 27
TAG = "ExRs"
_MAXIMUM_COUNT = 0x7FFF_FFFF


def exp_resource_list(nt: Kernel) -> int:
    """The head of the list of all resources, nt!ExpSystemResourcesList."""
    if not nt.ex.resource_list:
        nt.ex.resource_list = nt.allocate_pool(16, TAG)
        lists.initialize(nt.mmu, nt.ex.resource_list)
    return nt.ex.resource_list


def exp_lock_resource_list(nt: Kernel, name: str) -> int:
    """The list has a spin lock, so it is read and changed at DISPATCH_LEVEL; the level before.

    Source: ReactOS ntoskrnl/ex/resource.c, ExpResourceSpinLock.
    """
    level: int = nt.il.current.cr8
    set_irql(nt, max(level, DISPATCH_LEVEL), name)
    return level


def owner_count(entry: POWNER_ENTRY) -> int:
    """How often the entry's owner holds the resource."""
    size: int = entry._v.TableSize
    return size >> COUNT_SHIFT


def change_count(entry: POWNER_ENTRY, change: int) -> int:
    """Count an acquisition or release; the new count."""
    count = max(owner_count(entry) + change, 0)
    entry._v.TableSize = count << COUNT_SHIFT
    return count


def owner_entries(resource: PERESOURCE) -> Iterator[POWNER_ENTRY]:
    """Every entry that may name an owner."""
    yield resource.OwnerEntry
    table = resource.OwnerTable
    if table:
        for index in range(1, table._v.TableSize):
            yield table[index]


def find_owner(resource: PERESOURCE, owner: int) -> POWNER_ENTRY | None:
    """The entry of an owner, None if it holds nothing."""
    entries = owner_entries(resource)
    return next((entry for entry in entries if entry._v.OwnerThread == owner), None)


def free_entry(nt: Kernel, resource: PERESOURCE) -> POWNER_ENTRY:
    """An entry nobody uses; the table grows if there is none."""
    found = find_owner(resource, 0)
    return grow_table(nt, resource) if found is None else found


def grow_table(nt: Kernel, resource: PERESOURCE) -> POWNER_ENTRY:
    """A larger owner table with the old one's entries; its first new entry."""
    old = resource.OwnerTable
    size = old._v.TableSize if old else 1
    address = nt.allocate_pool((size + TABLE_STEP) * OWNER_ENTRY.size, TAG)
    if not address:
        nt.raise_status(ntstatus.STATUS_INSUFFICIENT_RESOURCES)
    nt.mmu.write(address, bytes((size + TABLE_STEP) * OWNER_ENTRY.size))
    if old:
        nt.mmu.write(address, nt.mmu.read(int(old), size * OWNER_ENTRY.size))
        nt.free_pool(int(old))
    table: POWNER_ENTRY = OWNER_ENTRY.at(nt.mmu, address)
    table._v.TableSize = size + TABLE_STEP
    resource._v.OwnerTable = address
    return table[size]  # type: ignore[no-any-return]


def add_owner(nt: Kernel, resource: PERESOURCE) -> None:
    """The current thread holds the resource once; the caller has counted it in ActiveEntries."""
    entry = free_entry(nt, resource)
    entry._v.OwnerThread, entry._v.TableSize = nt.thread.va, 1 << COUNT_SHIFT
    how = "exclusive" if resource._v.Flag & OWNED_EXCLUSIVE else "shared"
    nt.emit_at(LockAcquired, f"{how} resource", int(resource))


def set_active(resource: PERESOURCE, entries: int) -> None:
    """How many owners there are; ActiveCount says whether there is any."""
    v = resource._v
    v.ActiveEntries, v.ActiveCount = entries, int(entries > 0)


def exp_acquire_exclusive(nt: Kernel, resource: PERESOURCE, wait: bool) -> bool:
    """Hold the resource alone; a thread that shares it already waits for itself."""
    if wait:
        ke_ab_pre_acquire(nt, int(resource))
    v = resource._v
    if not v.ActiveEntries:
        v.Flag |= OWNED_EXCLUSIVE
        set_active(resource, 1)
        add_owner(nt, resource)
        return True
    if v.Flag & OWNED_EXCLUSIVE and v.OwnerEntry_OwnerThread == nt.thread.va:
        change_count(resource.OwnerEntry, 1)
        return True
    if wait:
        v.NumberOfExclusiveWaiters += 1
        wait_for(nt, resource, exclusive_event(nt, resource))
        add_owner(nt, resource)
    return wait


def exp_acquire_shared(nt: Kernel, resource: PERESOURCE, wait: bool, yields: bool) -> bool:
    """Share the resource; with `yields` only if nobody waits to hold it alone."""
    if wait:
        ke_ab_pre_acquire(nt, int(resource))
    v = resource._v
    mine = find_owner(resource, nt.thread.va)
    if v.Flag & OWNED_EXCLUSIVE:
        blocked = mine is None
    else:
        blocked = bool(yields and v.ActiveEntries and v.NumberOfExclusiveWaiters)
    if blocked:
        if not wait:
            return False
        v.NumberOfSharedWaiters += 1
        wait_for(nt, resource, shared_semaphore(nt, resource))
        mine = find_owner(resource, nt.thread.va)
        set_active(resource, v.ActiveEntries - 1)
    if mine is not None:
        change_count(mine, 1)
        return True
    set_active(resource, v.ActiveEntries + 1)
    add_owner(nt, resource)
    return True


def wait_for(nt: Kernel, resource: PERESOURCE, waiters: int) -> None:
    resource._v.ContentionCount += 1
    ki_wait(nt, [waiters], WAIT_ANY, WR_RESOURCE, 0, False, None)


def exclusive_event(nt: Kernel, resource: PERESOURCE) -> int:
    """The event that exclusive waiters wait for, made with the first of them."""
    v = resource._v
    if not v.ExclusiveWaiters:
        v.ExclusiveWaiters = nt.allocate_pool(KEVENT.size, TAG)
        event = KEVENT.at(nt.mmu, v.ExclusiveWaiters)
        KeInitializeEvent(nt, event, SYNCHRONIZATION_EVENT, False)
    return int(v.ExclusiveWaiters)


def shared_semaphore(nt: Kernel, resource: PERESOURCE) -> int:
    """The semaphore that waiting sharers wait for, made with the first of them."""
    v = resource._v
    if not v.SharedWaiters:
        v.SharedWaiters = nt.allocate_pool(KSEMAPHORE.size, TAG)
        semaphore = KSEMAPHORE.at(nt.mmu, v.SharedWaiters)
        KeInitializeSemaphore(nt, semaphore, 0, _MAXIMUM_COUNT)
    return int(v.SharedWaiters)


def grant_shared(nt: Kernel, resource: PERESOURCE) -> bool:
    """Let every waiting sharer in; False if there is none."""
    v = resource._v
    waiters: int = v.NumberOfSharedWaiters
    if waiters:
        v.NumberOfSharedWaiters = 0
        set_active(resource, v.ActiveEntries + waiters)
        KeReleaseSemaphore(nt, KSEMAPHORE.at(nt.mmu, v.SharedWaiters), 0, waiters, False)
    return waiters > 0


def grant_exclusive(nt: Kernel, resource: PERESOURCE) -> bool:
    """Let one exclusive waiter in; False if there is none."""
    v = resource._v
    if not v.NumberOfExclusiveWaiters:
        return False
    v.NumberOfExclusiveWaiters -= 1
    v.Flag |= OWNED_EXCLUSIVE
    set_active(resource, 1)
    KeSetEvent(nt, KEVENT.at(nt.mmu, v.ExclusiveWaiters), 0, False)
    return True


def exp_release(nt: Kernel, resource: PERESOURCE, owner: int) -> None:
    """One acquisition of `owner` less; the last of all hands the resource on."""
    v = resource._v
    exclusive = v.Flag & OWNED_EXCLUSIVE
    entry = resource.OwnerEntry if exclusive else find_owner(resource, owner)
    if entry is None or entry._v.OwnerThread != owner:
        not_owned(nt, resource, owner)
    if change_count(entry, -1):
        return
    entry._v.OwnerThread = 0
    nt.emit_at(LockReleased, "resource", int(resource))
    set_active(resource, max(v.ActiveEntries - 1, 0))
    if exclusive:
        v.Flag &= ~OWNED_EXCLUSIVE
        if not grant_shared(nt, resource):
            grant_exclusive(nt, resource)
    elif not v.ActiveEntries and not grant_exclusive(nt, resource):
        grant_shared(nt, resource)


def not_owned(nt: Kernel, resource: PERESOURCE, owner: int) -> NoReturn:
    """0xE3; 0x16E when it is another thread's hold that the caller wanted to release."""
    thread = nt.thread.va
    if owner != thread:
        nt.bugcheck(bugcodes.ERESOURCE_INVALID_RELEASE, int(resource), thread, owner)
    v = resource._v
    place = 1 if v.Flag & OWNED_EXCLUSIVE else 3 if v.OwnerTable else 2
    nt.bugcheck(bugcodes.RESOURCE_NOT_OWNED, int(resource), owner, v.OwnerTable, place)


@export(irql="<= DISPATCH")
def ExInitializeResourceLite(nt: Kernel, Resource: PERESOURCE) -> NTSTATUS:
    """A free resource, linked into the list of all. Source: WDK ExInitializeResourceLite."""
    nt.mmu.write(int(Resource), bytes(ERESOURCE.size))
    head = exp_resource_list(nt)
    level = exp_lock_resource_list(nt, "ExInitializeResourceLite")
    lists.insert_tail(nt.mmu, head, int(Resource))
    set_irql(nt, level, "ExInitializeResourceLite")
    nt.emit_at(ResourceInitialized, int(Resource))
    return ntstatus.STATUS_SUCCESS


@export(irql="<= DISPATCH")
def ExReinitializeResourceLite(nt: Kernel, Resource: PERESOURCE) -> NTSTATUS:
    """Nobody holds it any more; list, owner table and wait objects stay. Source: WDK."""
    v = Resource._v
    v.Flag, v.ContentionCount = 0, 0
    v.NumberOfSharedWaiters = v.NumberOfExclusiveWaiters = 0
    for entry in owner_entries(Resource):
        entry._v.OwnerThread = entry._v.TableSize = 0
    set_active(Resource, 0)
    return ntstatus.STATUS_SUCCESS


@export(irql="<= DISPATCH")
def ExDeleteResourceLite(nt: Kernel, Resource: PERESOURCE) -> NTSTATUS:
    """Take it out of the list and free what it had; deleting twice is 0x139 (3). Source: WDK.

    A resource that is freed without this leaves the list of all pointing at other people's memory.
    """
    level = exp_lock_resource_list(nt, "ExDeleteResourceLite")
    lists.remove(nt.mmu, int(Resource))
    set_irql(nt, level, "ExDeleteResourceLite")
    v = Resource._v
    for address in (v.OwnerTable, v.SharedWaiters, v.ExclusiveWaiters):
        if address:
            nt.free_pool(address)
    v.OwnerTable = v.SharedWaiters = v.ExclusiveWaiters = 0
    return ntstatus.STATUS_SUCCESS
