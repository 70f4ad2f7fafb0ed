"""Virtual memory of a process: reserve, commit, free, protect, query, read and write.

Source: WDK ZwAllocateVirtualMemory, ZwFreeVirtualMemory, ZwQueryVirtualMemory; Win32 VirtualAlloc,
VirtualProtect for what user mode relies on.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi import winnt_constants as w
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.mm import layout
from ntsim.nt.mm.user_space import (
    GRANULARITY,
    IMAGE,
    MAPPED,
    MODIFIERS,
    PHYSICAL,
    PRIVATE,
    Range,
    UserSpace,
)

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.ps.process import Process

FRAMES_KEPT_FREE = 64
"""Frames that commitments leave for page tables and pool."""

_BASIC = (
    w.PAGE_READONLY,
    w.PAGE_READWRITE,
    w.PAGE_EXECUTE,
    w.PAGE_EXECUTE_READ,
    w.PAGE_EXECUTE_READWRITE,
)
_PROTECTIONS = {w.PAGE_NOACCESS, *(basic | more for basic in _BASIC for more in MODIFIERS)}
_TYPES = w.MEM_COMMIT | w.MEM_RESERVE | w.MEM_RESET | w.MEM_TOP_DOWN
_KIND_TYPES = {
    PRIVATE: w.MEM_PRIVATE,
    PHYSICAL: w.MEM_PRIVATE,
    IMAGE: w.MEM_IMAGE,
    MAPPED: w.MEM_MAPPED,
}


def page_span(base: int, size: int) -> tuple[int, int]:
    """(start, bytes) of the whole pages that [base, base+size) touches."""
    start = base & ~0xFFF
    return start, (base + size + 0xFFF & ~0xFFF) - start


def mi_allocate(
    nt: Kernel, space: UserSpace, base: int, size: int, kind: int, protection: int
) -> tuple[int, int, int]:
    """(status, base, size) of reserving and/or committing; sizes in bytes, whole pages."""
    status = mi_check_allocation(base, size, kind, protection)
    if status:
        return status, 0, 0
    if kind & w.MEM_RESERVE or not base:
        at = base & ~(GRANULARITY - 1)
        _, span = page_span(at, base + size - at)
        made = space.reserve(span, at, protection)
        if made is None:
            failed = ntstatus.STATUS_CONFLICTING_ADDRESSES if base else ntstatus.STATUS_NO_MEMORY
            return failed, 0, 0
        start, span = made.base, made.size
    else:
        start, span = page_span(base, size)
        made = mi_range_around(space, start, span)
        if made is None or made.kind != PRIVATE:
            return ntstatus.STATUS_CONFLICTING_ADDRESSES, 0, 0
    if kind & w.MEM_COMMIT:
        if span // PAGE_SIZE > nt.mm.frames.available - FRAMES_KEPT_FREE:
            if kind & w.MEM_RESERVE or not base:
                space.release(made)
            return ntstatus.STATUS_COMMITMENT_LIMIT, 0, 0
        mi_commit(space, start, span, protection)
    return ntstatus.STATUS_SUCCESS, start, span


def mi_check_allocation(base: int, size: int, kind: int, protection: int) -> int:
    """The checks of the arguments alone. MEM_RESET goes with nothing else."""
    if kind & ~_TYPES or not kind & (w.MEM_COMMIT | w.MEM_RESERVE | w.MEM_RESET):
        return ntstatus.STATUS_INVALID_PARAMETER_5
    if kind & w.MEM_RESET and kind != w.MEM_RESET:
        return ntstatus.STATUS_INVALID_PARAMETER_5
    if protection not in _PROTECTIONS:
        return ntstatus.STATUS_INVALID_PAGE_PROTECTION
    if base > layout.HIGHEST_USER:
        return ntstatus.STATUS_INVALID_PARAMETER_2
    if not size or size > layout.HIGHEST_USER - base:
        return ntstatus.STATUS_INVALID_PARAMETER_4
    return ntstatus.STATUS_SUCCESS


def mi_commit(space: UserSpace, start: int, size: int, protection: int) -> None:
    """Commit what is not; what is gets the new protection, as MEM_COMMIT does."""
    for page in range(start, start + size, PAGE_SIZE):
        if space.mm.tables.read(space.root, page):
            space.protect(page, PAGE_SIZE, protection)
        else:
            space.commit(page, PAGE_SIZE, protection)


def mi_range_around(space: UserSpace, start: int, size: int) -> Range | None:
    """The reservation that holds all of [start, start+size)."""
    found = space.find(start)
    return found if found is not None and start + size <= found.base + found.size else None


def mi_free(space: UserSpace, base: int, size: int, kind: int) -> tuple[int, int, int]:
    """(status, base, size) of MEM_DECOMMIT or MEM_RELEASE; size 0 means the whole reservation."""
    if kind not in (w.MEM_DECOMMIT, w.MEM_RELEASE):
        return ntstatus.STATUS_INVALID_PARAMETER_4, 0, 0
    found = space.find(base)
    if found is None:
        return ntstatus.STATUS_MEMORY_NOT_ALLOCATED, 0, 0
    if found.kind != PRIVATE:
        return ntstatus.STATUS_UNABLE_TO_DELETE_SECTION, 0, 0
    if not size:
        if base & ~0xFFF != found.base:
            return ntstatus.STATUS_FREE_VM_NOT_AT_BASE, 0, 0
        start, span = found.base, found.size
    else:
        start, span = page_span(base, size)
    if start + span > found.base + found.size:
        return ntstatus.STATUS_UNABLE_TO_FREE_VM, 0, 0
    if kind == w.MEM_RELEASE:
        if (start, span) != (found.base, found.size):
            return ntstatus.STATUS_UNABLE_TO_FREE_VM, 0, 0
        space.release(found)
    else:
        space.decommit(start, span)
    return ntstatus.STATUS_SUCCESS, start, span


def mi_protect(
    space: UserSpace, base: int, size: int, protection: int
) -> tuple[int, int, int, int]:
    """(status, base, size, old protection). Image and shared pages keep theirs: they are not
    copied on write here."""
    if protection not in _PROTECTIONS:
        return ntstatus.STATUS_INVALID_PAGE_PROTECTION, 0, 0, 0
    start, span = page_span(base, size)
    found = mi_range_around(space, start, span) if size else None
    if found is None:
        return ntstatus.STATUS_CONFLICTING_ADDRESSES, 0, 0, 0
    if found.kind != PRIVATE:
        return ntstatus.STATUS_INVALID_PAGE_PROTECTION, 0, 0, 0
    old = space.protect(start, span, protection)
    if old is None:
        return ntstatus.STATUS_NOT_COMMITTED, 0, 0, 0
    return ntstatus.STATUS_SUCCESS, start, span, old


def mi_query(space: UserSpace, address: int) -> bytes:
    """MEMORY_BASIC_INFORMATION of the region that the page of `address` begins."""
    page = address & ~0xFFF
    found = space.find(page)
    if found is None:
        above = [r.base for r in space.ranges if r.base > page]
        end = min(above, default=layout.HIGHEST_USER + 1)
        return basic_information(page, 0, 0, end - page, w.MEM_FREE, w.PAGE_NOACCESS, 0)
    state, protection = page_state(space, page)
    end = page + PAGE_SIZE
    while end < found.base + found.size and page_state(space, end) == (state, protection):
        end += PAGE_SIZE
    kind = _KIND_TYPES[found.kind]
    size = end - page
    return basic_information(page, found.base, found.protection, size, state, protection, kind)


def page_state(space: UserSpace, page: int) -> tuple[int, int]:
    """(MEM_COMMIT or MEM_RESERVE, protection) of a page in a reservation."""
    entry = space.mm.tables.read(space.root, page)
    return (w.MEM_COMMIT, space.protection_of(entry)) if entry else (w.MEM_RESERVE, 0)


def basic_information(
    base: int, allocation: int, allocation_protect: int, size: int, state: int, protect: int,
    kind: int,
) -> bytes:  # fmt: skip
    """The 48 bytes of MEMORY_BASIC_INFORMATION."""
    return struct.pack("<QQQQIIQ", base, allocation, allocation_protect, size, state, protect, kind)


@contextmanager
def in_address_space(nt: Kernel, process: Process) -> Iterator[None]:
    """For accesses that cannot block: the page tables of another process."""
    processor = nt.il.current
    before, processor.cr3 = processor.cr3, process.root
    try:
        yield
    finally:
        processor.cr3 = before
