"""A process's user half: committed ranges, their protection, and the pages behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ntsim.abi import win32_constants as w
from ntsim.abi.mm import MMVAD, MMVAD_SHORT
from ntsim.abi.ps import EPROCESS
from ntsim.hw.paging import PTE_FRAME, PTE_PRESENT
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.mm import layout
from ntsim.nt.mm.protection import (
    MM_NOACCESS,
    PROTECTION_BITS,
    PTE_PROTOTYPE,
    SHARED,
    TO_SOFTWARE,
    TO_WIN32,
    copied,
    entry_for,
    is_guard,
    protection_of,
    r_private,
)
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
    tree. `released` is called when the range goes: a view drops its section. `prototypes` are the
    frames behind the pages of a view of a section, first page first.
    """

    __slots__ = ("node", "prototypes", "released", "v")

    def __init__(self, node: int, v: Any) -> None:
        self.node, self.v = node, v
        self.released: Callable[[], object] | None = None
        self.prototypes: Sequence[int] = ()

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
        return TO_WIN32[self.v.LongFlags >> PROTECTION_SHIFT & 0x1F]

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
        self,
        size: int,
        base: int = 0,
        protection: int = w.PAGE_READWRITE,
        kind: str = PRIVATE,
        *,
        highest: int = layout.HIGHEST_USER,
        top_down: bool = False,
    ) -> Range | None:
        """Reserve `size` bytes at `base`, or anywhere; None if the addresses are taken.

        `highest` is the last address that a range without a base may have, `top_down` puts it as
        high as possible.
        """
        size = -(-size // PAGE_SIZE) * PAGE_SIZE
        start = base & ~0xFFF if base else self._hole(size, highest, top_down)
        if start < layout.LOWEST_USER or start + size > layout.HIGHEST_USER:
            return None
        parent, side, at = 0, LEFT, self.tree.top()
        while at:
            found = self.nodes[at]
            if found.base < start + size and start < found.end:
                return None
            parent, side = at, LEFT if start < found.base else RIGHT
            at = self.tree.child(at, side)
        made = self._new_range(start, size, TO_SOFTWARE[protection], kind)
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

    def _hole(self, size: int, highest: int, top_down: bool) -> int:
        """The lowest free range from where addresses are looked for, or the highest free one; 0 if
        none ends at `highest` or below."""
        if top_down:
            return self._highest_hole(size, highest)
        start = LOWEST_HOLE if highest > LOWEST_HOLE else layout.LOWEST_USER
        for r in self.ranges:
            if r.end <= start:
                continue
            if start + size <= r.base:
                break
            start = -(-r.end // GRANULARITY) * GRANULARITY
        return start if start + size - 1 <= highest else 0

    def _highest_hole(self, size: int, highest: int) -> int:
        limit = min(highest, layout.HIGHEST_USER - 1) + 1
        for r in reversed(self.ranges):
            start = limit - size & -GRANULARITY
            if start >= r.end:
                break
            limit = min(limit, r.base)
        return max(limit - size & -GRANULARITY, 0)

    def map_shared(self, va: int, pa: int, protection: int = w.PAGE_READWRITE) -> None:
        """Map somebody else's frame; it is not freed with the range."""
        code = TO_SOFTWARE[protection]
        hidden = code == MM_NOACCESS or is_guard(code)
        entry = PTE_PROTOTYPE | code << 5 if hidden else entry_for(pa, code) | SHARED
        self.mm.mmu.write_entry(self.root, va, entry)
        self.mm.system.expose(pa)

    def map_view(self, view: Range, protection: int) -> None:
        """Let every page of a view be found in its section when it is touched."""
        entry = PTE_PROTOTYPE | TO_SOFTWARE[protection] << 5
        for page in range(view.base, view.end, PAGE_SIZE):
            self.mm.mmu.write_entry(self.root, page, entry)

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
        code, made = TO_SOFTWARE[protection], 0
        for page in range(va & ~0xFFF, va + size, PAGE_SIZE):
            if not self.mm.tables.read(self.root, page):
                self.mm.mmu.write_entry(self.root, page, code << 5)
                made += 1
        if made and (found := self.find(va)) is not None:
            found.charge(made)

    def protect(self, va: int, size: int, protection: int) -> int | None:
        """Change the protection; the old one of the first page, None if one is not committed."""
        code = TO_SOFTWARE[protection]
        pages = range(va & ~0xFFF, va + size, PAGE_SIZE)
        entries = [self.mm.tables.read(self.root, page) for page in pages]
        if not all(entries):
            return None
        found = self.find(va)
        in_view = found is not None and bool(found.prototypes)
        for page, entry in zip(pages, entries, strict=True):
            self.mm.mmu.write_entry(self.root, page, self._protected(entry, code, in_view))
        return protection_of(entries[0])

    def _protected(self, entry: int, code: int, in_view: bool) -> int:
        """An entry under another protection. A copy of a section's page is no longer copied."""
        valid, hidden = entry & PTE_PRESENT, code == MM_NOACCESS or is_guard(code)
        if not valid:
            own = not entry & PTE_PROTOTYPE
            return entry & ~PROTECTION_BITS | (copied(code) if own else code) << 5
        if not hidden:
            shared = entry & SHARED
            return entry_for(entry & PTE_FRAME, code if shared else copied(code)) | shared
        if not r_private(entry) and in_view:
            return PTE_PROTOTYPE | code << 5
        return self._page_out(entry, copied(code))

    def _page_out(self, entry: int, code: int) -> int:
        """Keep a page's content in the paging file under a software entry."""
        slot = self.mm.next_slot()
        pa = entry & PTE_FRAME
        self.mm.paging_file[slot] = self.mm.ram.read(pa, PAGE_SIZE)
        if r_private(entry):
            self.mm.frames.give(pa)
        return slot << 32 | code << 5

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
            if not entry:
                continue
            self.mm.mmu.write_entry(self.root, page, 0)
            gone += 1
            if not entry & PTE_PRESENT:
                self.mm.paging_file.pop(entry >> 32, None)
            elif r_private(entry):
                self.mm.frames.give(entry & PTE_FRAME)
        if gone and (found := self.find(va)) is not None and found.kind == PRIVATE:
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
