"""Sequenced singly linked lists: SLIST_HEADER.

Alignment holds the depth (bits 15:0) and a sequence number (63:16), Region the address of the first
entry, whose low four bits are not stored: header and entries must be aligned to 16 bytes. Source:
WDK "Singly and Doubly Linked Lists"; ntdef.h; kmtests ExSequencedList.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.rtl import SINGLE_LIST_ENTRY
from ntsim.abi.scalars import USHORT
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.abi.rtl import PSINGLE_LIST_ENTRY, PSLIST_HEADER
    from ntsim.abi.scalars import PKSPIN_LOCK
    from ntsim.nt.kernel import Kernel

DEPTH, SEQUENCE = 0xFFFF, 1 << 16
NEXT = ~0xF


def entry_at(nt: Kernel, address: int) -> PSINGLE_LIST_ENTRY:
    return SINGLE_LIST_ENTRY.at(nt.mmu, address)  # type: ignore[no-any-return]


def update(header: PSLIST_HEADER, first: int, change: int) -> None:
    """Store a new first entry; depth and sequence go along."""
    v = header._v
    depth = (v.Alignment + change) & DEPTH
    v.Alignment = ((v.Alignment & ~DEPTH) + SEQUENCE | depth) & 2**64 - 1
    v.Region = first & NEXT | v.Region & 0xF


@export(irql="any", aliases=("InitializeSListHead", "RtlInitializeSListHead"))
def ExInitializeSListHead(nt: Kernel, SListHead: PSLIST_HEADER) -> None:
    """An empty list; STATUS_DATATYPE_MISALIGNMENT is raised if not aligned. Source: WDK."""
    if SListHead & 0xF:
        nt.raise_status(ntstatus.STATUS_DATATYPE_MISALIGNMENT, "SLIST_HEADER")
    v = SListHead._v
    v.Alignment, v.Region = 0, 0


@export(irql="any", aliases=("RtlFirstEntrySList",))
def FirstEntrySList(nt: Kernel, SListHead: PSLIST_HEADER) -> PSINGLE_LIST_ENTRY:
    """The first entry, which stays in the list. Source: wdm.h."""
    return entry_at(nt, SListHead._v.Region & NEXT)


@export(irql="any", aliases=("InterlockedPushEntrySList", "RtlInterlockedPushEntrySList"))
def ExpInterlockedPushEntrySList(
    nt: Kernel, ListHead: PSLIST_HEADER, ListEntry: PSINGLE_LIST_ENTRY
) -> PSINGLE_LIST_ENTRY:
    """Put an entry in front; the one that was first, NULL if there was none. Source: WDK."""
    first = ListHead._v.Region & NEXT
    nt.write_pointer(int(ListEntry), first)
    update(ListHead, int(ListEntry), 1)
    return entry_at(nt, first)


@export(irql="any", aliases=("InterlockedPopEntrySList", "RtlInterlockedPopEntrySList"))
def ExpInterlockedPopEntrySList(nt: Kernel, ListHead: PSLIST_HEADER) -> PSINGLE_LIST_ENTRY:
    """Take the first entry, NULL if there is none. Source: WDK ExInterlockedPopEntrySList."""
    first = ListHead._v.Region & NEXT
    if first:
        update(ListHead, nt.read_pointer(first), -1)
    return entry_at(nt, first)


@export(irql="any", inline=True)
def ExInterlockedPushEntrySList(
    nt: Kernel, ListHead: PSLIST_HEADER, ListEntry: PSINGLE_LIST_ENTRY, Lock: PKSPIN_LOCK
) -> PSINGLE_LIST_ENTRY:
    """As ExpInterlockedPushEntrySList: on x64 the lock is not used. Source: WDK; wdm.h."""
    return ExpInterlockedPushEntrySList(nt, ListHead, ListEntry)


@export(irql="any", inline=True)
def ExInterlockedPopEntrySList(
    nt: Kernel, ListHead: PSLIST_HEADER, Lock: PKSPIN_LOCK
) -> PSINGLE_LIST_ENTRY:
    """As ExpInterlockedPopEntrySList: on x64 the lock is not used. Source: WDK; wdm.h."""
    return ExpInterlockedPopEntrySList(nt, ListHead)


@export(irql="any", aliases=("ExpInterlockedFlushSList", "RtlInterlockedFlushSList"))
def ExInterlockedFlushSList(nt: Kernel, ListHead: PSLIST_HEADER) -> PSINGLE_LIST_ENTRY:
    """Take all entries: the first, from which the others hang. Source: WDK."""
    first = ListHead._v.Region & NEXT
    if first:
        update(ListHead, 0, -(ListHead._v.Alignment & DEPTH))
    return entry_at(nt, first)


@export(irql="any", aliases=("QueryDepthSList", "RtlQueryDepthSList"))
def ExQueryDepthSList(nt: Kernel, SListHead: PSLIST_HEADER) -> USHORT:
    """How many entries the list has, modulo 65536. Source: WDK ExQueryDepthSList."""
    depth: int = SListHead._v.Alignment & DEPTH
    return depth
