"""A process's user half: committed ranges, their protection, and the pages behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ntsim.abi import win32_constants as w
from ntsim.abi.mm import MMVAD, MMVAD_SHORT
from ntsim.abi.ps import EPROCESS
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
from ntsim.nt.rtl.balanced_tree import LEFT, RIGHT, BalancedTree

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

GRANULARITY = 0x1_0000
LOWEST_HOLE = 0x2AB_0784_0000
"""Where free addresses are looked for; Windows begins at a random place."""

VAD_TYPE, VAD_PHYSICAL, VAD_IMAGE = 7 << 4, 1 << 4, 2 << 4
PROTECTION_SHIFT, PRIVATE_MEMORY = 7, 1 << 20
"""Fields of MMVAD_SHORT.LongFlags (MMVAD_FLAGS of 19041)."""

COMMIT_CHARGE = 0x7FFF_FFFF
"""MMVAD_SHORT.LongFlags1: committed pages."""

_USER_HALF = 256
"""Entries of a PML4 below the system's half."""

MM_NOCACHE, MM_GUARD_PAGE, MM_NOACCESS = 8, 0x10, 0x18
MODIFIERS = {
    0: 0,
    w.PAGE_GUARD: MM_GUARD_PAGE,
    w.PAGE_NOCACHE: MM_NOCACHE,
    w.PAGE_WRITECOMBINE: MM_GUARD_PAGE | MM_NOCACHE,
}
"""Win32 modifiers, of which a page has one at most, to what they add to a software protection."""

PTE_WRITE_THROUGH, PTE_CACHE_DISABLE = 8, 0x10

_BASIC = {
    w.PAGE_READONLY: 1,
    w.PAGE_EXECUTE: 2,
    w.PAGE_EXECUTE_READ: 3,
    w.PAGE_READWRITE: 4,
    w.PAGE_WRITECOPY: 5,
    w.PAGE_EXECUTE_READWRITE: 6,
    w.PAGE_EXECUTE_WRITECOPY: 7,
}
_TO_SOFTWARE = {
    basic | modifier: code | more
    for basic, code in _BASIC.items()
    for modifier, more in MODIFIERS.items()
}
_TO_SOFTWARE[w.PAGE_NOACCESS] = MM_NOACCESS
"""Win32 page protection to the five protection bits of a software PTE."""

_TO_WIN32 = {code: name for name, code in _TO_SOFTWARE.items()}


def entry_for(pa: int, protection: int) -> int:
    """A valid user entry for frame `pa` under software protection code `protection`."""
    bits = PTE_PRESENT | PTE_USER | PTE_ACCESSED
    if protection & 4:
        bits |= PTE_WRITE | PTE_DIRTY
    if not protection & 2:
        bits |= PTE_NX
    if protection & MM_NOCACHE:
        bits |= PTE_WRITE_THROUGH if protection & MM_GUARD_PAGE else PTE_CACHE_DISABLE
    return pa | bits


def is_guard(protection: int) -> bool:
    """Whether a software protection is that of a guard page."""
    return protection & MM_NOACCESS == MM_GUARD_PAGE


PRIVATE, IMAGE, MAPPED, PHYSICAL = "private", "image", "mapped", "physical"
"""Kinds of ranges; PHYSICAL is what MmMapLockedPages maps."""

_FLAGS = {
    PRIVATE: PRIVATE_MEMORY,
    PHYSICAL: PRIVATE_MEMORY | VAD_PHYSICAL,
    IMAGE: VAD_IMAGE,
    MAPPED: 0,
}
_KINDS = {flags: kind for kind, flags in _FLAGS.items()}
_VAD_ROOT = EPROCESS.offset_of("VadRoot")


class Range:
    """A reservation: what VirtualAlloc made in one call, an image, a view, a stack.

    Its bytes are an MMVAD_SHORT, or an MMVAD where it is not private memory, in the process's VAD
    tree. `released` is called when the range goes: a view drops its section.
    """

    __slots__ = ("node", "released", "v")

    def __init__(self, node: int, v: Any) -> None:
        self.node, self.v = node, v
        self.released: Callable[[], object] | None = None

    @property
    def base(self) -> int:
        v = self.v
        return int(v.StartingVpnHigh << 32 | v.StartingVpn) << 12

    @property
    def end(self) -> int:
        """The first address behind it."""
        v = self.v
        return (int(v.EndingVpnHigh << 32 | v.EndingVpn) + 1) << 12

    @property
    def size(self) -> int:
        return self.end - self.base

    @property
    def protection(self) -> int:
        """The Win32 protection that it was reserved with."""
        return _TO_WIN32[self.v.LongFlags >> PROTECTION_SHIFT & 0x1F]

    @property
    def kind(self) -> str:
        """PRIVATE, IMAGE, MAPPED or PHYSICAL."""
        return _KINDS[self.v.LongFlags & (VAD_TYPE | PRIVATE_MEMORY)]

    def charge(self, pages: int) -> None:
        """So many pages more (or fewer) are committed in it."""
        v = self.v
        v.LongFlags1 = v.LongFlags1 & ~COMMIT_CHARGE | (v.LongFlags1 & COMMIT_CHARGE) + pages


class UserSpace:
    """The ranges of one process, by the VAD tree that EPROCESS.VadRoot points at.

    Page-table entries are the truth about what is committed. `nodes` holds the Range of each VAD.
    """

    def __init__(self, nt: Kernel, process: int, root: int) -> None:
        self.nt, self.mm, self.process, self.root = nt, nt.mm, process, root
        self.e = EPROCESS.at(nt.mmu, process)._v
        self.tree = BalancedTree(nt.mmu, process + _VAD_ROOT)
        self.nodes: dict[int, Range] = {}

    @property
    def ranges(self) -> list[Range]:
        """Every range, lowest first."""
        return [self.nodes[node] for node in self.tree.in_order()]

    def reserve(
        self, size: int, base: int = 0, protection: int = w.PAGE_READWRITE, kind: str = PRIVATE
    ) -> Range | None:
        """Reserve `size` bytes at `base`, or anywhere; None if the addresses are taken."""
        size = -(-size // PAGE_SIZE) * PAGE_SIZE
        start = base & ~0xFFF if base else self._hole(size)
        if start < layout.LOWEST_USER or start + size > layout.HIGHEST_USER:
            return None
        parent, side, at = 0, LEFT, self.tree.top()
        while at:
            found = self.nodes[at]
            if found.base < start + size and start < found.end:
                return None
            parent, side = at, LEFT if start < found.base else RIGHT
            at = self.tree.child(at, side)
        made = self._new_range(start, size, _TO_SOFTWARE[protection], kind)
        self.tree.insert(parent, side, made.node)
        self.nodes[made.node] = made
        self.e.VadCount += 1
        return made

    def _new_range(self, start: int, size: int, code: int, kind: str) -> Range:
        flags = _FLAGS[kind]
        short = bool(flags & PRIVATE_MEMORY)
        layout_of = MMVAD_SHORT if short else MMVAD
        node = self.nt.allocate_pool(layout_of.size, "VadS" if short else "Vad ")
        self.nt.mmu.write(node, bytes(layout_of.size))
        v = MMVAD_SHORT.at(self.nt.mmu, node)._v
        first, last = start >> 12, (start + size >> 12) - 1
        v.StartingVpn, v.StartingVpnHigh = first & 0xFFFF_FFFF, first >> 32
        v.EndingVpn, v.EndingVpnHigh = last & 0xFFFF_FFFF, last >> 32
        v.LongFlags = flags | code << PROTECTION_SHIFT
        if not short:
            MMVAD.at(self.nt.mmu, node)._v.VadsProcess = self.process
        return Range(node, v)

    def _hole(self, size: int) -> int:
        start = LOWEST_HOLE
        for r in self.ranges:
            if r.end <= start:
                continue
            if start + size <= r.base:
                break
            start = -(-r.end // GRANULARITY) * GRANULARITY
        return start

    def map_shared(self, va: int, pa: int, protection: int = w.PAGE_READWRITE) -> None:
        """Map somebody else's frame; it is not freed with the range."""
        code = _TO_SOFTWARE[protection]
        entry = code << 5 if code == MM_NOACCESS else entry_for(pa, code) | SHARED
        self.mm.mmu.write_entry(self.root, va, entry)

    def find(self, va: int) -> Range | None:
        """The range that `va` lies in."""
        at = self.tree.top()
        while at:
            found = self.nodes[at]
            if va < found.base:
                at = self.tree.child(at, LEFT)
            elif va < found.end:
                return found
            else:
                at = self.tree.child(at, RIGHT)
        return None

    def commit(self, va: int, size: int, protection: int) -> None:
        """Make the pages of [va, va+size) demand-zero; committed ones keep their content."""
        code, made = _TO_SOFTWARE[protection], 0
        for page in range(va & ~0xFFF, va + size, PAGE_SIZE):
            if not self.mm.tables.read(self.root, page):
                self.mm.mmu.write_entry(self.root, page, code << 5)
                made += 1
        if made and (found := self.find(va)) is not None:
            found.charge(made)

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
            elif code == MM_NOACCESS or is_guard(code):
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
        code = 4 if entry & PTE_WRITE else 1
        if not entry & PTE_NX:
            code = 6 if entry & PTE_WRITE else 3
        if entry & PTE_CACHE_DISABLE:
            code |= MM_NOCACHE
        elif entry & PTE_WRITE_THROUGH:
            code |= MM_NOACCESS
        return _TO_WIN32[code]

    def release(self, r: Range) -> None:
        """Decommit every page of a range and forget it."""
        self.decommit(r.base, r.size)
        self.tree.remove(r.node)
        self.e.VadCount -= 1
        del self.nodes[r.node]
        self.nt.free_pool(r.node)
        if r.released is not None:
            r.released()

    def decommit(self, va: int, size: int) -> None:
        gone = 0
        for page in range(va & ~0xFFF, va + size, PAGE_SIZE):
            entry = self.mm.tables.read(self.root, page)
            if entry:
                self.mm.mmu.write_entry(self.root, page, 0)
                gone += r_private(entry)
            if entry & PTE_PRESENT and r_private(entry):
                self.mm.frames.give(entry & PTE_FRAME)
        if gone and (found := self.find(va)) is not None:
            found.charge(-gone)

    def delete(self) -> None:
        """The process is gone: return every frame and the tables, but for the PML4 in use."""
        self._free_tables(self.root, 4, _USER_HALF)
        views = [r.released for r in self.ranges if r.released is not None]
        self.nt.mmu.write_word(self.tree.root, 0)
        self.e.VadCount = 0
        for node in self.nodes:
            self.nt.free_pool(node)
        self.nodes.clear()
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
