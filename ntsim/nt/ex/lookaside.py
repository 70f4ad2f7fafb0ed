"""Look-aside lists: free entries of one size, kept for the next allocation.

An empty list calls the list's Allocate routine, a full one (Depth entries) its Free routine; by
default those are the pool's. Every list is linked into one of two lists of all, from which it must
be deleted. Source: WDK "Using Lookaside Lists"; Wine ntoskrnl tests test_lookaside_list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.ex import GENERAL_LOOKASIDE_POOL
from ntsim.abi.scalars import NTSTATUS, POOL_TYPE, PVOID, SIZE_T, ULONG, USHORT
from ntsim.nt.ex.allocate import ExAllocatePoolWithTag, ExFreePool
from ntsim.nt.ex.pool import NX, PAGED_POOL
from ntsim.nt.ex.slist import (
    ExInitializeSListHead,
    ExpInterlockedPopEntrySList,
    ExpInterlockedPushEntrySList,
    ExQueryDepthSList,
    entry_at,
)
from ntsim.nt.exports import export
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.abi.ex import PLOOKASIDE_LIST_EX, PNPAGED_LOOKASIDE_LIST, PPAGED_LOOKASIDE_LIST
    from ntsim.nt.kernel import Kernel

MINIMUM_DEPTH, MAXIMUM_DEPTH = 4, 256
RAISE_IF_ALLOCATION_FAILURE, QUOTA_FAIL_INSTEAD_OF_RAISE = 0x10, 8
_ENTRY = GENERAL_LOOKASIDE_POOL.offset_of("ListEntry")


def exp_allocate_ex(nt: Kernel, PoolType: int, NumberOfBytes: int, Tag: int, List: int) -> int:
    """The default Allocate routine of an extended list."""
    return ExAllocatePoolWithTag(nt, PoolType, NumberOfBytes, Tag)


def exp_free_ex(nt: Kernel, Buffer: int, List: int) -> None:
    """The default Free routine of an extended list."""
    ExFreePool(nt, Buffer)


def lists_of_all(nt: Kernel, paged: bool) -> int:
    """The head of nt!ExNPagedLookasideListHead or nt!ExPagedLookasideListHead."""
    heads = nt.ex.lookaside_lists
    if not heads[paged]:
        heads[paged] = nt.allocate_pool(16, "ExLa")
        lists.initialize(nt.mmu, heads[paged])
    return heads[paged]


def initialize(
    nt: Kernel, general: Any, pool_type: int, size: int, tag: int, allocate: int, free: int
) -> None:
    """Fill in a GENERAL_LOOKASIDE and link it; Depth is the kernel's to choose."""
    nt.mmu.write(int(general), bytes(GENERAL_LOOKASIDE_POOL.size))
    ExInitializeSListHead(nt, general.ListHead)
    v = general._v
    v.Depth, v.MaximumDepth = MINIMUM_DEPTH, MAXIMUM_DEPTH
    v.Type, v.Size, v.Tag = pool_type, size & 0xFFFF_FFFF, tag
    v.Allocate, v.Free = allocate, free
    lists.insert_tail(nt.mmu, lists_of_all(nt, bool(pool_type & PAGED_POOL)), int(general) + _ENTRY)


def default(nt: Kernel, routine: int, function: Callable[..., Any]) -> int:
    """The driver's routine, or the address of the kernel's."""
    return int(routine) or nt.internal_address(function)


def take(nt: Kernel, general: Any, *owner: Any) -> int:
    """An entry of the list, or a new one; `owner` is the further argument of extended routines."""
    v = general._v
    v.TotalAllocates += 1
    entry = int(ExpInterlockedPopEntrySList(nt, general.ListHead))
    if entry:
        return entry
    v.AllocateMisses += 1
    return nt.call(v.Allocate, v.Type, v.Size, v.Tag, *owner)


def put(nt: Kernel, general: Any, entry: int, *owner: Any) -> None:
    """Keep an entry, or free it if the list has enough."""
    v = general._v
    v.TotalFrees += 1
    if ExQueryDepthSList(nt, general.ListHead) < v.Depth:
        ExpInterlockedPushEntrySList(nt, general.ListHead, entry_at(nt, entry))
        return
    v.FreeMisses += 1
    nt.call(v.Free, entry, *owner)


def flush(nt: Kernel, general: Any, *owner: Any) -> None:
    """Free every entry of the list."""
    while entry := int(ExpInterlockedPopEntrySList(nt, general.ListHead)):
        nt.call(general._v.Free, entry, *owner)


def delete(nt: Kernel, general: Any, *owner: Any) -> None:
    """Unlink the list, which a list that is none ends as a corrupt one, and free its entries."""
    lists.remove(nt.mmu, int(general) + _ENTRY)
    flush(nt, general, *owner)


@export(irql="<= DISPATCH")
def ExInitializeNPagedLookasideList(
    nt: Kernel,
    Lookaside: PNPAGED_LOOKASIDE_LIST,
    Allocate: PVOID,
    Free: PVOID,
    Flags: ULONG,
    Size: SIZE_T,
    Tag: ULONG,
    Depth: USHORT,
) -> None:
    """An empty list of nonpaged entries; Flags go into the pool type. Source: WDK."""
    allocate = default(nt, Allocate, ExAllocatePoolWithTag)
    initialize(nt, Lookaside.L, Flags, Size, Tag, allocate, default(nt, Free, ExFreePool))


@export(irql="<= DISPATCH", inline=True)
def ExInitializeNPagedLookasideList_NXPoolOptIn(
    nt: Kernel,
    Lookaside: PNPAGED_LOOKASIDE_LIST,
    Allocate: PVOID,
    Free: PVOID,
    Flags: ULONG,
    Size: SIZE_T,
    Tag: ULONG,
    Depth: USHORT,
) -> None:
    """ExInitializeNPagedLookasideList with memory that is not executable. Source: wdm.h."""
    ExInitializeNPagedLookasideList(nt, Lookaside, Allocate, Free, Flags | NX, Size, Tag, Depth)


@export(irql="<= DISPATCH")
def ExAllocateFromNPagedLookasideList(nt: Kernel, Lookaside: PNPAGED_LOOKASIDE_LIST) -> PVOID:
    """An entry, not zeroed; NULL if memory is short. Source: WDK."""
    return take(nt, Lookaside.L)


@export(irql="<= DISPATCH")
def ExFreeToNPagedLookasideList(
    nt: Kernel, Lookaside: PNPAGED_LOOKASIDE_LIST, Entry: PVOID
) -> None:
    """Give an entry back. Source: WDK ExFreeToNPagedLookasideList."""
    put(nt, Lookaside.L, Entry)


@export(irql="<= DISPATCH")
def ExDeleteNPagedLookasideList(nt: Kernel, Lookaside: PNPAGED_LOOKASIDE_LIST) -> None:
    """Free the kept entries; those still in use stay the driver's business. Source: WDK."""
    delete(nt, Lookaside.L)


@export(irql="<= APC")
def ExInitializePagedLookasideList(
    nt: Kernel,
    Lookaside: PPAGED_LOOKASIDE_LIST,
    Allocate: PVOID,
    Free: PVOID,
    Flags: ULONG,
    Size: SIZE_T,
    Tag: ULONG,
    Depth: USHORT,
) -> None:
    """An empty list of paged entries. Source: WDK ExInitializePagedLookasideList."""
    allocate = default(nt, Allocate, ExAllocatePoolWithTag)
    free = default(nt, Free, ExFreePool)
    initialize(nt, Lookaside.L, Flags | PAGED_POOL, Size, Tag, allocate, free)


@export(irql="<= APC")
def ExAllocateFromPagedLookasideList(nt: Kernel, Lookaside: PPAGED_LOOKASIDE_LIST) -> PVOID:
    """An entry, not zeroed; NULL if memory is short. Source: WDK."""
    return take(nt, Lookaside.L)


@export(irql="<= APC")
def ExFreeToPagedLookasideList(nt: Kernel, Lookaside: PPAGED_LOOKASIDE_LIST, Entry: PVOID) -> None:
    """Give an entry back. Source: WDK ExFreeToPagedLookasideList."""
    put(nt, Lookaside.L, Entry)


@export(irql="<= APC")
def ExDeletePagedLookasideList(nt: Kernel, Lookaside: PPAGED_LOOKASIDE_LIST) -> None:
    """Free the kept entries. Source: WDK ExDeletePagedLookasideList."""
    delete(nt, Lookaside.L)


@export(irql="<= DISPATCH")
def ExInitializeLookasideListEx(
    nt: Kernel,
    Lookaside: PLOOKASIDE_LIST_EX,
    Allocate: PVOID,
    Free: PVOID,
    PoolType: POOL_TYPE,
    Flags: ULONG,
    Size: SIZE_T,
    Tag: ULONG,
    Depth: USHORT,
) -> NTSTATUS:
    """An empty list of either kind, whose routines are told the list.

    The two flags exclude each other: both, or unknown ones, are STATUS_INVALID_PARAMETER_5
    (inferred: the documentation says only that it is an error). Source: WDK.
    """
    raises = c.EX_LOOKASIDE_LIST_EX_FLAGS_RAISE_ON_FAIL
    fails = c.EX_LOOKASIDE_LIST_EX_FLAGS_FAIL_NO_RAISE
    extra = {0: 0, raises: RAISE_IF_ALLOCATION_FAILURE, fails: QUOTA_FAIL_INSTEAD_OF_RAISE}
    if Flags not in extra:
        return ntstatus.STATUS_INVALID_PARAMETER_5
    allocate, free = default(nt, Allocate, exp_allocate_ex), default(nt, Free, exp_free_ex)
    initialize(nt, Lookaside.L, PoolType | extra[Flags], Size, Tag, allocate, free)
    return ntstatus.STATUS_SUCCESS


@export(irql="<= DISPATCH, or <= APC for paged entries")
def ExAllocateFromLookasideListEx(nt: Kernel, Lookaside: PLOOKASIDE_LIST_EX) -> PVOID:
    """An entry, not zeroed; NULL if memory is short. Source: WDK."""
    return take(nt, Lookaside.L, Lookaside)


@export(irql="<= DISPATCH, or <= APC for paged entries")
def ExFreeToLookasideListEx(nt: Kernel, Lookaside: PLOOKASIDE_LIST_EX, Entry: PVOID) -> None:
    """Give an entry back. Source: WDK ExFreeToLookasideListEx."""
    put(nt, Lookaside.L, Entry, Lookaside)


@export(irql="<= DISPATCH, or <= APC for paged entries")
def ExFlushLookasideListEx(nt: Kernel, Lookaside: PLOOKASIDE_LIST_EX) -> None:
    """Free the kept entries; the list stays usable. Source: WDK ExFlushLookasideListEx."""
    flush(nt, Lookaside.L, Lookaside)


@export(irql="<= DISPATCH, or <= APC for paged entries")
def ExDeleteLookasideListEx(nt: Kernel, Lookaside: PLOOKASIDE_LIST_EX) -> None:
    """Free the kept entries; the list is none any more. Source: WDK ExDeleteLookasideListEx."""
    delete(nt, Lookaside.L, Lookaside)
