"""ExInterlockedXxx: list and counter operations under a spin lock that may be used at any IRQL.

The lock is held with interrupts off, so that no interrupt of this processor can want it; the level
stays as it is. The same lock must not be used with KeAcquireSpinLock as well. Source: WDK
ExInterlockedInsertTailList and its neighbours; kmtests ExInterlocked.c, ExDoubleList.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ntsim.abi.large_integer import LargeIntegerValue
from ntsim.abi.rtl import LIST_ENTRY, SINGLE_LIST_ENTRY
from ntsim.abi.scalars import ULONG
from ntsim.hw.cpu import RFLAGS_IF
from ntsim.nt.exports import export
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.abi.rtl import LARGE_INTEGER, PLARGE_INTEGER, PLIST_ENTRY, PSINGLE_LIST_ENTRY
    from ntsim.abi.scalars import PKSPIN_LOCK, PULONG
    from ntsim.nt.kernel import Kernel

T = TypeVar("T")


def ex_locked(nt: Kernel, lock: PKSPIN_LOCK, operation: Callable[[], T]) -> T:
    """Do `operation` with the lock held and interrupts off; nothing runs in between."""
    processor = nt.il.current
    enabled = processor.rflags & RFLAGS_IF
    processor.rflags &= ~RFLAGS_IF
    while nt.read_pointer(int(lock)) & 1:
        nt.il.spin()
    result = operation()
    processor.rflags |= enabled
    if enabled and processor.apic.requested:
        nt.il.take_interrupts()
    return result


@export(irql="any")
def ExInterlockedInsertHeadList(
    nt: Kernel, ListHead: PLIST_ENTRY, ListEntry: PLIST_ENTRY, Lock: PKSPIN_LOCK
) -> PLIST_ENTRY:
    """Link at the front; the entry that was first, NULL if there was none. Source: WDK."""

    def insert() -> int:
        first = lists.read_pointer(nt.mmu, ListHead)
        lists.insert_head(nt.mmu, int(ListHead), int(ListEntry))
        return 0 if first == ListHead else first

    return LIST_ENTRY.at(nt.mmu, ex_locked(nt, Lock, insert))  # type: ignore[no-any-return]


@export(irql="any")
def ExInterlockedInsertTailList(
    nt: Kernel, ListHead: PLIST_ENTRY, ListEntry: PLIST_ENTRY, Lock: PKSPIN_LOCK
) -> PLIST_ENTRY:
    """Link at the end; the entry that was last, NULL if there was none. Source: WDK."""

    def insert() -> int:
        last = lists.read_pointer(nt.mmu, ListHead + 8)
        lists.insert_tail(nt.mmu, int(ListHead), int(ListEntry))
        return 0 if last == ListHead else last

    return LIST_ENTRY.at(nt.mmu, ex_locked(nt, Lock, insert))  # type: ignore[no-any-return]


@export(irql="any")
def ExInterlockedRemoveHeadList(
    nt: Kernel, ListHead: PLIST_ENTRY, Lock: PKSPIN_LOCK
) -> PLIST_ENTRY:
    """Unlink and return the first entry, NULL if there is none. Source: WDK."""

    def remove() -> int:
        first = lists.remove_head(nt.mmu, int(ListHead))
        return 0 if first == ListHead else first

    return LIST_ENTRY.at(nt.mmu, ex_locked(nt, Lock, remove))  # type: ignore[no-any-return]


@export(irql="any")
def ExInterlockedPushEntryList(
    nt: Kernel, ListHead: PSINGLE_LIST_ENTRY, ListEntry: PSINGLE_LIST_ENTRY, Lock: PKSPIN_LOCK
) -> PSINGLE_LIST_ENTRY:
    """Put in front of a singly linked list; the entry that was first, NULL if none. Source: WDK."""

    def push() -> int:
        first = nt.read_pointer(int(ListHead))
        nt.write_pointer(int(ListEntry), first)
        nt.write_pointer(int(ListHead), int(ListEntry))
        return first

    return SINGLE_LIST_ENTRY.at(nt.mmu, ex_locked(nt, Lock, push))  # type: ignore[no-any-return]


@export(irql="any")
def ExInterlockedPopEntryList(
    nt: Kernel, ListHead: PSINGLE_LIST_ENTRY, Lock: PKSPIN_LOCK
) -> PSINGLE_LIST_ENTRY:
    """Take the first entry of a singly linked list, NULL if there is none. Source: WDK."""

    def pop() -> int:
        first = nt.read_pointer(int(ListHead))
        if first:
            nt.write_pointer(int(ListHead), nt.read_pointer(first))
        return first

    return SINGLE_LIST_ENTRY.at(nt.mmu, ex_locked(nt, Lock, pop))  # type: ignore[no-any-return]


@export(irql="any")
def ExInterlockedAddUlong(nt: Kernel, Addend: PULONG, Increment: ULONG, Lock: PKSPIN_LOCK) -> ULONG:
    """Add to a ULONG; the old value. Source: WDK ExInterlockedAddUlong."""
    address = int(Addend)

    def add() -> int:
        old = int.from_bytes(nt.mmu.read(address, 4), "little")
        nt.mmu.write(address, ((old + Increment) & 0xFFFF_FFFF).to_bytes(4, "little"))
        return old

    return ex_locked(nt, Lock, add)


@export(irql="any")
def ExInterlockedAddLargeInteger(
    nt: Kernel, Addend: PLARGE_INTEGER, Increment: LARGE_INTEGER, Lock: PKSPIN_LOCK
) -> LARGE_INTEGER:
    """Add to a LARGE_INTEGER; the old value. Source: WDK ExInterlockedAddLargeInteger."""
    step = nt.quad_part(Increment)

    def add() -> int:
        old: int = Addend._v.QuadPart
        Addend._v.QuadPart = old + step
        return old

    return LargeIntegerValue(ex_locked(nt, Lock, add))  # type: ignore[return-value]


@export(irql="any", inline=True)
def ExInterlockedAddLargeStatistic(nt: Kernel, Addend: PLARGE_INTEGER, Increment: ULONG) -> None:
    """Add a ULONG to a LARGE_INTEGER, indivisibly. Source: WDK ExInterlockedAddLargeStatistic."""
    Addend._v.QuadPart += Increment
