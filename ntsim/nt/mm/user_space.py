"""A process's user half: committed ranges, their protection, and the pages behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ntsim.abi import win32_constants as w
from ntsim.hw.paging import (
    PTE_ACCESSED,
    PTE_DIRTY,
    PTE_FRAME,
    PTE_NX,
    PTE_PRESENT,
    PTE_USER,
    PTE_WRITE,
)
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.mm import layout
from ntsim.nt.mm.mm import Mm

GRANULARITY = 0x1_0000
_USER_HALF = 256
"""Entries of a PML4 below the system's half."""

MM_NOACCESS = 0x18

_TO_SOFTWARE = {
    w.PAGE_NOACCESS: MM_NOACCESS,
    w.PAGE_READONLY: 1,
    w.PAGE_EXECUTE: 2,
    w.PAGE_EXECUTE_READ: 3,
    w.PAGE_READWRITE: 4,
    w.PAGE_WRITECOPY: 5,
    w.PAGE_EXECUTE_READWRITE: 6,
    w.PAGE_EXECUTE_WRITECOPY: 7,
}
"""Win32 page protection to the five protection bits of a software PTE."""

_TO_WIN32 = {code: name for name, code in _TO_SOFTWARE.items()}


def entry_for(pa: int, protection: int) -> int:
    """A valid user entry for frame `pa` under software protection code `protection`."""
    bits = PTE_PRESENT | PTE_USER | PTE_ACCESSED
    if protection in (4, 5, 6, 7):
        bits |= PTE_WRITE | PTE_DIRTY
    if protection not in (2, 3, 6, 7):
        bits |= PTE_NX
    return pa | bits


@dataclass(slots=True)
class Range:
    """A reservation: what VirtualAlloc made in one call, or an image, stack or heap."""

    base: int
    size: int
    protection: int
    kind: str = "private"
    released: Callable[[], object] | None = None
    """Called when the range goes: a view drops its section."""


class UserSpace:
    """The ranges of one process. Page-table entries are the truth about what is committed."""

    def __init__(self, mm: Mm, root: int) -> None:
        self.mm, self.root = mm, root
        self.ranges: list[Range] = []

    def reserve(self, size: int, base: int = 0, protection: int = w.PAGE_READWRITE) -> Range | None:
        """Reserve `size` bytes at `base`, or anywhere; None if the addresses are taken."""
        size = -(-size // PAGE_SIZE) * PAGE_SIZE
        start = base & ~0xFFF if base else self._hole(size)
        if start is None or start < layout.LOWEST_USER or start + size > layout.HIGHEST_USER:
            return None
        if any(r.base < start + size and start < r.base + r.size for r in self.ranges):
            return None
        made = Range(start, size, protection)
        self.ranges.append(made)
        return made

    def _hole(self, size: int) -> int | None:
        start = 0x2AB_0784_0000
        for r in sorted(self.ranges, key=lambda r: r.base):
            if r.base + r.size <= start:
                continue
            if start + size <= r.base:
                break
            start = -(-(r.base + r.size) // GRANULARITY) * GRANULARITY
        return start

    def map_shared(self, va: int, pa: int, protection: int = w.PAGE_READWRITE) -> None:
        """Map somebody else's frame; it is not freed with the range."""
        code = _TO_SOFTWARE[protection]
        entry = code << 5 if code == MM_NOACCESS else entry_for(pa, code) | SHARED
        self.mm.mmu.write_entry(self.root, va, entry)

    def find(self, va: int) -> Range | None:
        return next((r for r in self.ranges if r.base <= va < r.base + r.size), None)

    def commit(self, va: int, size: int, protection: int) -> None:
        """Make the pages of [va, va+size) demand-zero; committed ones keep their content."""
        code = _TO_SOFTWARE[protection]
        for page in range(va & ~0xFFF, va + size, PAGE_SIZE):
            if not self.mm.tables.read(self.root, page):
                self.mm.mmu.write_entry(self.root, page, code << 5)

    def protect(self, va: int, size: int, protection: int) -> int | None:
        """Change the protection; the old one of the first page, None if one is not committed."""
        code = _TO_SOFTWARE[protection]
        pages = range(va & ~0xFFF, va + size, PAGE_SIZE)
        entries = [self.mm.tables.read(self.root, page) for page in pages]
        if not all(entries):
            return None
        for page, entry in zip(pages, entries, strict=True):
            if not entry & PTE_PRESENT:
                new = (entry & ~0x3E0) | code << 5
            elif code == MM_NOACCESS:
                new = self._page_out(entry, code)
            else:
                new = entry_for(entry & PTE_FRAME, code)
            self.mm.mmu.write_entry(self.root, page, new)
        return self.protection_of(entries[0])

    def _page_out(self, entry: int, code: int) -> int:
        """Keep a page's content in the paging file under a software entry."""
        slot = self.mm.next_slot()
        pa = entry & PTE_FRAME
        self.mm.paging_file[slot] = self.mm.ram.read(pa, PAGE_SIZE)
        self.mm.frames.give(pa)
        return slot << 32 | code << 5

    @staticmethod
    def protection_of(entry: int) -> int:
        """The Win32 protection that an entry stands for."""
        if not entry & PTE_PRESENT:
            return _TO_WIN32[(entry >> 5) & 0x1F]
        executable, writable = not entry & PTE_NX, bool(entry & PTE_WRITE)
        return _TO_WIN32[(2 if executable else 0) + (4 if writable else 1)]

    def release(self, r: Range) -> None:
        """Decommit every page of a range and forget it."""
        self.decommit(r.base, r.size)
        self.ranges.remove(r)
        if r.released is not None:
            r.released()

    def decommit(self, va: int, size: int) -> None:
        for page in range(va & ~0xFFF, va + size, PAGE_SIZE):
            entry = self.mm.tables.read(self.root, page)
            if entry:
                self.mm.mmu.write_entry(self.root, page, 0)
            if entry & PTE_PRESENT and r_private(entry):
                self.mm.frames.give(entry & PTE_FRAME)

    def delete(self) -> None:
        """The process is gone: return every frame and the tables, but for the PML4 in use."""
        self._free_tables(self.root, 4, _USER_HALF)
        views = [r.released for r in self.ranges if r.released is not None]
        self.ranges.clear()
        self.mm.mmu.flush(self.root)
        for released in views:
            released()

    def _free_tables(self, table: int, level: int, entries: int) -> None:
        """Give back what a page table of `level` (4 = PML4) maps, and clear its first `entries`."""
        words, first = self.mm.ram.u64, table >> 3
        for index, entry in enumerate(words[first : first + entries].tolist(), first):
            if not entry:
                continue
            words[index] = 0
            if not entry & PTE_PRESENT:
                self.mm.paging_file.pop(entry >> 32, None)
            elif level > 1:
                self._free_tables(entry & PTE_FRAME, level - 1, 512)
                self.mm.frames.give(entry & PTE_FRAME)
            elif r_private(entry):
                self.mm.frames.give(entry & PTE_FRAME)


def r_private(entry: int) -> bool:
    """Whether the frame belongs to this entry alone (bit 9 marks shared frames)."""
    return not entry & SHARED


SHARED = 1 << 9
"""Software-available PTE bit 9: the frame is shared (KUSER_SHARED_DATA) and not freed here."""
