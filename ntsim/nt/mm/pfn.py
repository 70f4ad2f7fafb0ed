"""MmPfnDatabase: one _MMPFN of 48 bytes for each page frame, kept true as frames come and go.

PteAddress is where the frame's first mapping has its entry (in the self-map, so it is an address of
the address space that maps it), ReferenceCount counts its use and each lock of an MDL, PageLocation
says whether it is active, free or zeroed. Not kept: the links of the lists of free frames,
OriginalPte, PteFrame, share counts above one and the prototype entries of sections' pages. Source:
_MMPFN of the public symbols; Windows Internals 7, ch. 5, "Page frame number database".
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from ntsim.hw.paging import PTE_FRAME, PTE_PRESENT, SELF_MAP, SELF_MAP_BITS
from ntsim.hw.ram import PAGE_SIZE, Ram

if TYPE_CHECKING:
    from ntsim.nt.mm.mm import Mm

WORDS = 6
ENTRY_SIZE = 8 * WORDS
PTE_ADDRESS, SHARE_COUNT, COUNTS = 1, 3, 4
"""Words of an entry."""

ZEROED, FREE, ACTIVE = 0, 1, 6
"""PageLocation: bits 18:16 of the word that begins with ReferenceCount."""

_ACTIVE, _FREE = 1 | ACTIVE << 16, FREE << 16
_TAKEN = array("Q", [0, 0, 1, _ACTIVE])
_GIVEN = array("Q", [0, 0, 0, _FREE])
"""What PteAddress to the counts are of a frame just taken, and of one given back."""

_SHARED_USER = 1 << 10 | 4
"""Bits of an entry: a user's, of a frame that a section or an image owns."""


def database_pages(ram_size: int) -> int:
    """Frames that the database of so much memory takes."""
    return -(-(ram_size // PAGE_SIZE) * ENTRY_SIZE // PAGE_SIZE)


class PfnDatabase:
    """The bytes at `base`, a physical address; all frames are zeroed ones at first, as RAM is."""

    def __init__(self, ram: Ram, base: int) -> None:
        self.words, self.base, self.limit = ram.u64, base, ram.size
        self.first = base >> 3

    def taken(self, pa: int, pages: int = 1) -> None:
        """Frames are in use."""
        at = self.first + (pa >> 12) * WORDS + PTE_ADDRESS
        for word in range(at, at + pages * WORDS, WORDS):
            self.words[word : word + 4] = _TAKEN

    def given(self, pa: int, pages: int = 1) -> None:
        """Frames are free."""
        at = self.first + (pa >> 12) * WORDS + PTE_ADDRESS
        for word in range(at, at + pages * WORDS, WORDS):
            self.words[word : word + 4] = _GIVEN

    def count(self, pa: int, change: int) -> None:
        """A frame is referenced more or less often."""
        self.words[self.first + (pa >> 12) * WORDS + COUNTS] += change

    def mapped(self, entry: int, va: int) -> None:
        """An entry was written for `va`."""
        if entry & PTE_PRESENT and entry & _SHARED_USER != _SHARED_USER:
            self.placed(entry & PTE_FRAME, SELF_MAP | va >> 9 & SELF_MAP_BITS)

    def placed(self, pa: int, entry_at: int) -> None:
        """The entry at `entry_at` maps a frame, which counts if it is the first to."""
        at = self.first + (pa >> 12) * WORDS + PTE_ADDRESS
        if pa < self.limit and not self.words[at]:
            self.words[at] = entry_at

    def unmapped(self, pa: int, va: int) -> None:
        """The mapping of a frame at `va` is gone, and the frame is not free."""
        at = self.first + (pa >> 12) * WORDS + PTE_ADDRESS
        if pa < self.limit and self.words[at] == SELF_MAP | va >> 9 & SELF_MAP_BITS:
            self.words[at] = 0

    def address_of(self, pa: int) -> int:
        """Where a frame is mapped first: from the place of the entry. 0 if nowhere."""
        if not 0 <= pa < self.limit:
            return 0
        entry_at = self.words[self.first + (pa >> 12) * WORDS + PTE_ADDRESS]
        if not entry_at:
            return 0
        va = (entry_at & SELF_MAP_BITS) << 9
        return va | 0xFFFF << 48 if va >> 47 else va


def mi_map_database(mm: Mm, va: int) -> None:
    """Let the database be seen at `va`."""
    pages = database_pages(mm.ram.size)
    mm.system.map(va, range(mm.pfn.base, mm.pfn.base + pages * PAGE_SIZE, PAGE_SIZE))
