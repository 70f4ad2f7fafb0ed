"""Doubly linked lists (wdm.h), on addresses, with the checks of the release headers.

The inline routines of the WDK verify the neighbours' links and stop with a fast fail, which is bug
check 0x139 with parameter 1 = 3 (FAST_FAIL_CORRUPT_LIST_ENTRY). Where every entry concerned is raw
memory and in order, `Mmu.pairs` finds the links at once; else they are read word by word.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ntsim.abi.scalars import BOOLEAN
from ntsim.hw.mmu import Mmu
from ntsim.nt.events import ListCorrupt
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.abi.rtl import PLIST_ENTRY
    from ntsim.nt.kernel import Kernel


LONGEST = 1_000_000
"""A list with more entries than this does not lead back to its head."""


def read_pointer(memory: Mmu, va: int) -> int:
    """The 64-bit value at `va`."""
    return memory.read_word(va)


def write_pointer(memory: Mmu, va: int, value: int) -> None:
    """Store a 64-bit value at `va`."""
    memory.write_word(va, value)


def initialize(memory: Mmu, head: int) -> None:
    """Make `head` an empty list."""
    at = memory.pairs[head]
    if at >= 0:
        memory.words[at] = memory.words[at + 1] = head
        return
    memory.write_word(head, head)
    memory.write_word(head + 8, head)


def is_empty(memory: Mmu, head: int) -> bool:
    return memory.read_word(head) == head


def insert_tail(memory: Mmu, head: int, entry: int) -> None:
    """Link `entry` before `head`; fast fail if the tail does not point back."""
    tail = memory.read_word(head + 8)
    if memory.read_word(tail) != head:
        memory.corrupt_list(head)
    write = memory.write_word
    write(entry, head)
    write(entry + 8, tail)
    write(tail, entry)
    write(head + 8, entry)


def insert_head(memory: Mmu, head: int, entry: int) -> None:
    """Link `entry` after `head`; fast fail if the first entry does not point back."""
    pairs, words = memory.pairs, memory.words
    at, mine = pairs[head], pairs[entry]
    if at >= 0 and mine >= 0:
        back = pairs[words[at]]
        if back >= 0 and words[back + 1] == head:
            words[mine], words[mine + 1] = words[at], head
            words[back + 1] = words[at] = entry
            return
    first = memory.read_word(head)
    if memory.read_word(first + 8) != head:
        memory.corrupt_list(head)
    write = memory.write_word
    write(entry, first)
    write(entry + 8, head)
    write(first + 8, entry)
    write(head, entry)


def remove(memory: Mmu, entry: int) -> bool:
    """Unlink `entry`; True if its list is empty now. fast fail if a neighbour disagrees."""
    pairs, words = memory.pairs, memory.words
    at = pairs[entry]
    if at >= 0:
        following, previous = words[at], words[at + 1]
        after, before = pairs[following], pairs[previous]
        if after >= 0 and before >= 0 and words[after + 1] == entry == words[before]:
            words[before], words[after + 1] = following, previous
            return following == previous
    read = memory.read_word
    following, previous = read(entry), read(entry + 8)
    if read(following + 8) != entry or read(previous) != entry:
        memory.corrupt_list(entry)
    memory.write_word(previous, following)
    memory.write_word(following + 8, previous)
    return following == previous


def remove_head(memory: Mmu, head: int) -> int:
    """Unlink and return the first entry; of an empty list, `head` itself."""
    first = memory.read_word(head)
    if first != head:
        if memory.read_word(first + 8) != head:
            memory.corrupt_list(first)
        remove(memory, first)
    return first


def walk(memory: Mmu, head: int) -> Iterator[int]:
    """Addresses of the entries, first to last; the list must not change meanwhile."""
    at, count = memory.read_word(head), 0
    while at != head:
        yield at
        count += 1
        if count > LONGEST:
            memory.endless_list()
        at = memory.read_word(at)


def entries(memory: Mmu, head: int) -> list[int]:
    """Addresses of the entries as they are now, first to last."""
    return list(walk(memory, head))


def rtl_fail_fast(nt: Kernel, entry: int) -> None:
    """int 29h with code 3, wherever links do not point back; does not return."""
    read = nt.mmu.read_word
    following, previous = read(entry), read(entry + 8)
    for neighbour, offset, side, link in (
        (previous, 0, "before", "Flink"), (following, 8, "after", "Blink"),
    ):  # fmt: skip
        if nt.mmu.physical(neighbour + offset) is None:
            text = f"what should be the entry {side} it, {neighbour:#x}, is no memory"
        elif (found := read(neighbour + offset)) != entry:
            text = f"{link} of the entry {side} it, {neighbour:#x}, is {found:#x}"
        else:
            continue
        nt.emit_at(ListCorrupt, entry, neighbour, text)
        break
    nt.ki.fast_fail(3, f"list entry {entry:#x} is corrupt")


@export(irql="any", inline=True)
def InitializeListHead(nt: Kernel, ListHead: PLIST_ENTRY) -> None:
    """Make ListHead an empty list. Source: WDK InitializeListHead."""
    initialize(nt.mmu, ListHead)


@export(irql="any", inline=True)
def IsListEmpty(nt: Kernel, ListHead: PLIST_ENTRY) -> BOOLEAN:
    """TRUE if the list has no entries. Source: WDK IsListEmpty."""
    return is_empty(nt.mmu, ListHead)


@export(irql="any", inline=True)
def InsertTailList(nt: Kernel, ListHead: PLIST_ENTRY, Entry: PLIST_ENTRY) -> None:
    """Link Entry at the end. Source: WDK InsertTailList; wdm.h's link check."""
    insert_tail(nt.mmu, ListHead, Entry)


@export(irql="any", inline=True)
def InsertHeadList(nt: Kernel, ListHead: PLIST_ENTRY, Entry: PLIST_ENTRY) -> None:
    """Link Entry at the front. Source: WDK InsertHeadList; wdm.h's link check."""
    insert_head(nt.mmu, ListHead, Entry)


@export(irql="any", inline=True)
def RemoveHeadList(nt: Kernel, ListHead: PLIST_ENTRY) -> PLIST_ENTRY:
    """Unlink and return the first entry; ListHead itself if empty. Source: WDK RemoveHeadList."""
    return ListHead.at(nt.mmu, remove_head(nt.mmu, ListHead))  # type: ignore[no-any-return]


@export(irql="any", inline=True)
def RemoveTailList(nt: Kernel, ListHead: PLIST_ENTRY) -> PLIST_ENTRY:
    """Unlink and return the last entry; ListHead itself if empty. Source: WDK RemoveTailList."""
    last = read_pointer(nt.mmu, ListHead + 8)
    if last != ListHead:
        if nt.mmu.read_word(last) != ListHead:
            nt.mmu.corrupt_list(last)
        remove(nt.mmu, last)
    return ListHead.at(nt.mmu, last)  # type: ignore[no-any-return]


@export(irql="any", inline=True)
def RemoveEntryList(nt: Kernel, Entry: PLIST_ENTRY) -> BOOLEAN:
    """Unlink Entry; TRUE if its list is empty now. Source: WDK RemoveEntryList."""
    return remove(nt.mmu, Entry)
