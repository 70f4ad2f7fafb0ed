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
from ntsim.nt.mm.protection import MODIFIERS, protection_of
from ntsim.nt.mm.user_space import (
    GRANULARITY,
    IMAGE,
    MAPPED,
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
_COPYING = (w.PAGE_WRITECOPY, w.PAGE_EXECUTE_WRITECOPY)
_PRIVATE = {w.PAGE_NOACCESS, *(basic | more for basic in _BASIC for more in MODIFIERS)}
_PROTECTIONS = _PRIVATE | {basic | more for basic in _COPYING for more in MODIFIERS}
_READS, _WRITES, _RUNS, _COPIES = 1, 2, 4, 8
_ACCESS = {
    w.PAGE_NOACCESS: 0,
    w.PAGE_READONLY: _READS,
    w.PAGE_WRITECOPY: _READS,
    w.PAGE_READWRITE: _READS | _WRITES,
    w.PAGE_EXECUTE: _READS | _RUNS,
    w.PAGE_EXECUTE_READ: _READS | _RUNS,
    w.PAGE_EXECUTE_WRITECOPY: _READS | _RUNS | _COPIES,
    w.PAGE_EXECUTE_READWRITE: _READS | _WRITES | _RUNS | _COPIES,
}
"""What a view's protection allows its pages to be changed to."""

_MODIFIERS = w.PAGE_GUARD | w.PAGE_NOCACHE | w.PAGE_WRITECOMBINE
_TYPES = w.MEM_COMMIT | w.MEM_RESERVE | w.MEM_RESET | w.MEM_TOP_DOWN
_KIND_TYPES = {
    PRIVATE: w.MEM_PRIVATE,
    PHYSICAL: w.MEM_PRIVATE,
    IMAGE: w.MEM_IMAGE,
    MAPPED: w.MEM_MAPPED,
}


def highest_address(zero_bits: int) -> int:
    """The last address that ZeroBits allow: so many leading zeros of 32 bits, or, from 32 on, the
    leading zeros of a mask. Source: Wine dlls/ntdll/tests/virtual.c."""
    if not zero_bits:
        return layout.HIGHEST_USER
    last = (1 << 32 - zero_bits if zero_bits < 32 else 1 << zero_bits.bit_length()) - 1
    return min(last, layout.HIGHEST_USER)


def page_span(base: int, size: int) -> tuple[int, int]:
    """(start, bytes) of the whole pages that [base, base+size) touches."""
    start = base & ~0xFFF
    return start, (base + size + 0xFFF & ~0xFFF) - start


def mi_allocate(
    nt: Kernel,
    space: UserSpace,
    base: int,
    size: int,
    kind: int,
    protection: int,
    zero_bits: int = 0,
) -> tuple[int, int, int]:
    """(status, base, size) of reserving and/or committing; sizes in bytes, whole pages."""
    status = mi_check_allocation(base, size, kind, protection)
    if status:
        return status, 0, 0
    reserves = bool(kind & w.MEM_RESERVE or not base)
    if protection not in _PRIVATE and (reserves or not mi_is_view(space, base)):
        return ntstatus.STATUS_INVALID_PAGE_PROTECTION, 0, 0
    if reserves:
        at = base & ~(GRANULARITY - 1)
        _, span = page_span(at, base + size - at)
        highest, top_down = highest_address(zero_bits), bool(kind & w.MEM_TOP_DOWN)
        made = space.reserve(span, at, protection, highest=highest, top_down=top_down)
        if made is None:
            failed = ntstatus.STATUS_CONFLICTING_ADDRESSES if base else ntstatus.STATUS_NO_MEMORY
            return failed, 0, 0
        start, span = made.base, made.size
    else:
        start, span = page_span(base, size)
        made = mi_range_around(space, start, span)
        if made is not None and made.kind == MAPPED:
            return ntstatus.STATUS_ALREADY_COMMITTED, 0, 0
        if made is None or made.kind != PRIVATE:
            return ntstatus.STATUS_CONFLICTING_ADDRESSES, 0, 0
    if kind & w.MEM_COMMIT:
        if span // PAGE_SIZE > nt.mm.frames.available - FRAMES_KEPT_FREE:
            if reserves:
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


def mi_is_view(space: UserSpace, address: int) -> bool:
    """Whether an address lies in a view of a section."""
    found = space.find(address)
    return found is not None and found.kind == MAPPED


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
    """(status, base, size) of MEM_DECOMMIT or MEM_RELEASE; size 0 means the whole reservation.

    Source: ReactOS kmtests ZwAllocateVirtualMemory.c, of system addresses.
    """
    if kind not in (w.MEM_DECOMMIT, w.MEM_RELEASE):
        return ntstatus.STATUS_INVALID_PARAMETER_4, 0, 0
    if not layout.is_user_address(base):
        return ntstatus.STATUS_INVALID_PARAMETER_2, 0, 0
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
    """(status, base, size, old protection).

    Pages of a view take what its protection covers, and keep neither caching nor write combining
    of their own; a page of an image that is made writable is copied when it is written. Source:
    Wine dlls/kernel32/tests/virtual.c test_mapping, test_CreateFileMapping_protection; [MS-ERREF]
    STATUS_SECTION_PROTECTION.
    """
    if protection not in _PROTECTIONS:
        return ntstatus.STATUS_INVALID_PAGE_PROTECTION, 0, 0, 0
    start, span = page_span(base, size)
    found = mi_range_around(space, start, span) if size else None
    if found is None:
        return ntstatus.STATUS_CONFLICTING_ADDRESSES, 0, 0, 0
    status, code = mi_new_protection(found, protection)
    if status:
        return status, 0, 0, 0
    old = space.protect(start, span, code)
    if old is None:
        return ntstatus.STATUS_NOT_COMMITTED, 0, 0, 0
    return ntstatus.STATUS_SUCCESS, start, span, old


def mi_new_protection(found: Range, protection: int) -> tuple[int, int]:
    """(status, protection that the pages of a range get)."""
    if found.kind == PRIVATE:
        allowed = protection in _PRIVATE
        return 0 if allowed else ntstatus.STATUS_INVALID_PAGE_PROTECTION, protection
    basic = protection & ~_MODIFIERS
    if found.kind == IMAGE:
        copying = {w.PAGE_READWRITE: _COPYING[0], w.PAGE_EXECUTE_READWRITE: _COPYING[1]}
        return ntstatus.STATUS_SUCCESS, protection & _MODIFIERS | copying.get(basic, basic)
    if found.kind == PHYSICAL or protection & (w.PAGE_NOCACHE | w.PAGE_WRITECOMBINE):
        return ntstatus.STATUS_INVALID_PAGE_PROTECTION, protection
    view, wanted = _ACCESS[found.protection & ~_MODIFIERS], _ACCESS[basic]
    if wanted & ~view:
        return ntstatus.STATUS_SECTION_PROTECTION, protection
    return ntstatus.STATUS_SUCCESS, protection


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
    return (w.MEM_COMMIT, protection_of(entry)) if entry else (w.MEM_RESERVE, 0)


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
