"""Translates a linear address as the engine does, in Python: for reading the code at an exit.

A translation stands as long as the table entries that it went through do: `Walk.page` gives them
along, so that keeping it costs a look at those few words and not another walk.

Not for data accesses of the kernel (`ntsim.hw.mmu`): no rights, no accessed bits. The
library's own translation cannot be asked instead: a nested fault inside it jumps into a stack frame
that is gone. Structures: SDM 3, chapter "Paging"; nested tables have the four-level format.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from ntsim.hw.ram import Ram

_PRESENT, _LARGE = 1, 1 << 7
_FRAME = 0x000F_FFFF_FFFF_F000
_CR0_PG, _CR4_PSE, _CR4_PAE, _EFER_LMA = 1 << 31, 1 << 4, 1 << 5, 1 << 10
_LONG = (39, 30, 21, 12)
Trail = dict[int, int]
"""The entries that a walk has gone through: number of the word in RAM, and what it held."""


class Page:
    """Where a linear page is: `frame`, None if nowhere, while its table entries are unchanged.

    `age` and `nested_age` are for whoever keeps pages: when the entries, and the nested ones among
    them, were last known to stand.
    """

    __slots__ = ("_linear", "_nested", "_words", "age", "frame", "nested_age")

    def __init__(self, ram: Ram, frame: int | None, trail: Trail, nested: Trail) -> None:
        self.frame, self._words = frame, ram.u64
        self._linear, self._nested = _reading(ram, trail), _reading(ram, nested)
        self.age = self.nested_age = -1

    def stands(self, nested_too: bool) -> bool:
        """Whether the entries are as they were; of the tables that a guest has, or of all."""
        read, entries = self._linear
        if read(self._words) != entries:
            return False
        read, entries = self._nested
        return not nested_too or bool(read(self._words) == entries)


def _reading(ram: Ram, trail: Trail) -> tuple[Callable[[Any], Any], Any]:
    """What reads the entries at once, and what it reads now."""
    read: Callable[[Any], Any] = itemgetter(*trail) if trail else len
    return read, read(ram.u64)


class Walk:
    """The translation that one setting of the control registers makes."""

    __slots__ = ("_levels", "_nested", "_nested_trail", "_pse", "_ram", "_root", "_trail")

    def __init__(
        self, ram: Ram, cr0: int, cr3: int, cr4: int, efer: int, nested_root: int | None
    ) -> None:
        self._ram = ram
        self._nested = nested_root
        self._trail: Trail = {}
        self._nested_trail: Trail = {}
        self._levels: tuple[int, ...] = ()
        self._root, self._pse = cr3 & _FRAME, True
        if not cr0 & _CR0_PG:
            return
        if efer & _EFER_LMA:
            self._levels = _LONG
        elif cr4 & _CR4_PAE:
            self._levels, self._root = _LONG[1:], cr3 & 0xFFFF_FFE0
        else:
            self._levels, self._root = (22, 12), cr3 & 0xFFFF_F000
            self._pse = bool(cr4 & _CR4_PSE)

    def page(self, linear: int) -> Page:
        """The page that `linear` begins."""
        self._trail.clear()
        self._nested_trail.clear()
        return Page(self._ram, self.physical(linear), self._trail, self._nested_trail)

    def physical(self, linear: int) -> int | None:
        """Physical address (of the machine) of `linear`; None: not mapped, or not RAM."""
        levels = self._levels
        if not levels:
            return self._machine(linear & 0xFFFF_FFFF)
        if levels is _LONG and linear >> 47 not in (0, 0x1FFFF):
            return None
        if levels[0] == 22:
            return self._two_level(linear & 0xFFFF_FFFF)
        if levels is not _LONG:
            linear &= 0xFFFF_FFFF
        address = self._descend(self._root, linear, levels, nested=True)
        return None if address is None else self._machine(address)

    def _descend(
        self, table: int, address: int, levels: tuple[int, ...], nested: bool
    ) -> int | None:
        for shift in levels:
            entry = self._read(table + (address >> shift & 0x1FF) * 8, nested)
            if not entry & _PRESENT:
                return None
            if shift == 12 or (entry & _LARGE and shift in (21, 30)):
                mask = (1 << shift) - 1
                return entry & _FRAME & ~mask | address & mask
            table = entry & _FRAME
        raise AssertionError("a walk ends at a page")

    def _two_level(self, linear: int) -> int | None:
        entry = self._read(self._root + (linear >> 22) * 4 & ~7, True)
        entry = entry >> (linear >> 22 & 1) * 32 & 0xFFFF_FFFF
        if not entry & _PRESENT:
            return None
        if entry & _LARGE and self._pse:
            base = entry & 0xFFC0_0000 | (entry & 0x1F_E000) << 19
            return self._machine(base | linear & 0x3F_FFFF)
        address = (entry & 0xFFFF_F000) + (linear >> 12 & 0x3FF) * 4
        entry = self._read(address & ~7, True) >> (address >> 2 & 1) * 32
        if not entry & _PRESENT:
            return None
        return self._machine(entry & 0xFFFF_F000 | linear & 0xFFF)

    def _machine(self, address: int) -> int | None:
        """From guest-physical to the machine's physical memory."""
        if self._nested is not None:
            found = self._descend(self._nested & _FRAME, address, _LONG, nested=False)
            if found is None:
                return None
            address = found
        return address if address < self._ram.size else None

    def _read(self, address: int, nested: bool) -> int:
        """The entry at `address`; 0 (not present) where there is no memory."""
        place = self._machine(address) if nested else address
        if place is None or place >= self._ram.size:
            return 0
        trail = self._trail if nested else self._nested_trail
        entry = trail[place >> 3] = self._ram.u64[place >> 3]
        return entry
