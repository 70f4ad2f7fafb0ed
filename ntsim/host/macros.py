"""Macros and inline functions of the driver headers that need no export, and raising routines.

Source: WDK pages of the same names; wdm.h for the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ntsim.abi import ntstatus
from ntsim.abi.operators import cast
from ntsim.abi.rtl import SINGLE_LIST_ENTRY
from ntsim.host.current import current_kernel

PAGE_MASK = 0xFFF
MACROS: dict[str, Callable[..., Any]] = {}


def macro(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register under the function's own name."""
    MACROS[function.__name__] = function
    return function


# The cache manager


@macro
def CcIsFileCached(FileObject: Any) -> bool:
    """Whether the file has a shared cache map."""
    pointers = FileObject.SectionObjectPointer
    return bool(pointers) and bool(pointers.SharedCacheMap)


# Exceptions


@macro
def ExRaiseStatus(Status: int) -> None:
    """Raise a structured exception with Status as its code."""
    current_kernel("ExRaiseStatus").raise_status(int(Status) & 0xFFFF_FFFF)


@macro
def ExRaiseAccessViolation() -> None:
    """Raise STATUS_ACCESS_VIOLATION."""
    ExRaiseStatus(ntstatus.STATUS_ACCESS_VIOLATION)


@macro
def ExRaiseDatatypeMisalignment() -> None:
    """Raise STATUS_DATATYPE_MISALIGNMENT."""
    ExRaiseStatus(ntstatus.STATUS_DATATYPE_MISALIGNMENT)


# What free builds leave of assertions: nothing


@macro
def PAGED_CODE() -> None:
    """Asserts IRQL <= APC_LEVEL in checked builds; nothing in free ones."""
    current_kernel("PAGED_CODE").il.step()


@macro
def ASSERT(expression: object) -> None:
    """Breaks into the debugger in checked builds; nothing in free ones."""


@macro
def NT_ASSERT(expression: object) -> None:
    """As ASSERT."""


@macro
def UNREFERENCED_PARAMETER(parameter: object) -> None:
    """Does nothing."""


# Memory order and singly linked lists


@macro
def KeMemoryBarrier() -> None:
    """Everybody sees every store at once here, so there is nothing to order: time for others."""
    current_kernel("KeMemoryBarrier").il.step()


@macro
def PushEntryList(ListHead: Any, Entry: Any) -> None:
    """Put an entry first; the caller holds the list's lock."""
    head, entry = cast(ListHead, SINGLE_LIST_ENTRY), cast(Entry, SINGLE_LIST_ENTRY)
    entry.Next = head.Next
    head.Next = entry


@macro
def PopEntryList(ListHead: Any) -> Any:
    """Take the first entry off; NULL if there is none. The caller holds the list's lock."""
    head = cast(ListHead, SINGLE_LIST_ENTRY)
    first = head.Next
    if first:
        head.Next = first.Next
    return first


# Page arithmetic


@macro
def ADDRESS_AND_SIZE_TO_SPAN_PAGES(va: int, size: int) -> int:
    """Pages that [va, va+size) touches."""
    return ((int(va) & PAGE_MASK) + int(size) + PAGE_MASK) >> 12


@macro
def BYTE_OFFSET(va: int) -> int:
    """Offset of an address in its page."""
    return int(va) & PAGE_MASK


@macro
def PAGE_ALIGN(va: int) -> int:
    """Address of the page that an address is in."""
    return int(va) & ~PAGE_MASK


@macro
def ROUND_TO_PAGES(size: int) -> int:
    """The next multiple of a page."""
    return (int(size) + PAGE_MASK) & ~PAGE_MASK


# Pseudo-handles


@macro
def ZwCurrentProcess() -> int:
    """The handle -1, which names the current process wherever a process handle is taken."""
    return (1 << 64) - 1


@macro
def ZwCurrentThread() -> int:
    """The handle -2, which names the current thread."""
    return (1 << 64) - 2


MACROS["NtCurrentProcess"], MACROS["NtCurrentThread"] = ZwCurrentProcess, ZwCurrentThread
