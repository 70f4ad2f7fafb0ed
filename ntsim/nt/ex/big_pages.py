"""The table of large pool blocks: PoolBigPageTable, which tools list as `big pools`.

Entries (POOL_TRACKER_BIG_PAGES: Va, Key, PoolType and SlushSize, NumberOfBytes) are hashed by page
number; bit 0 of Va says that an entry is free. The table doubles when it is three quarters full.
Source: Windows 10 19041 symbols; ReactOS ntoskrnl/mm/ARM3/expool.c for the hash.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.mm.variables import mi_variable

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

ENTRY_SIZE, FIRST_SIZE, FREE = 0x18, 512, 1


class BigPageTable:
    """The table of one machine; `count` entries are in use."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.table = mi_variable(nt, "PoolBigPageTable")
        self.size = mi_variable(nt, "PoolBigPageTableSize")
        self.count = 0

    def add(self, va: int, tag: int, pool_type: int, pages: int, slush: int) -> None:
        """Enter a block of `pages` pages, of which `slush` bytes at the end are not used."""
        read = self.nt.mmu.read_word
        if not read(self.size):
            self._make(FIRST_SIZE)
        elif self.count >= read(self.size) * 3 // 4:
            self._double()
        flags = pool_type << 8 | slush << 20
        self._store(struct.pack("<QIIQ", va, tag, flags, pages * PAGE_SIZE))
        self.count += 1

    def remove(self, va: int) -> None:
        """A block was freed."""
        at, size = self._hash(va)
        table = self.nt.mmu.read_word(self.table)
        while self.nt.mmu.read_word(table + ENTRY_SIZE * at) != va:
            at = (at + 1) % size
        self.nt.mmu.write_word(table + ENTRY_SIZE * at, va | FREE)
        self.count -= 1

    def _hash(self, va: int) -> tuple[int, int]:
        """(first place to look at, number of entries)."""
        size = self.nt.mmu.read_word(self.size)
        page = va >> 12 & 0xFFFF_FFFF
        return (page >> 24 ^ page >> 16 ^ page >> 8 ^ page) & size - 1, size

    def _store(self, entry: bytes) -> None:
        at, size = self._hash(int.from_bytes(entry[:8], "little"))
        table, read = self.nt.mmu.read_word(self.table), self.nt.mmu.read_word
        while (found := read(table + ENTRY_SIZE * at)) and not found & FREE:
            at = (at + 1) % size
        self.nt.mmu.write(table + ENTRY_SIZE * at, entry)

    def _make(self, size: int) -> None:
        mm = self.nt.mm
        pages = size * ENTRY_SIZE // PAGE_SIZE
        self.nt.mmu.write_word(self.table, mm.system.allocate(mm.nonpaged, pages))
        self.nt.mmu.write_word(self.size, size)

    def _double(self) -> None:
        mm, read = self.nt.mm, self.nt.mmu.read_word
        old, size = read(self.table), read(self.size)
        data = self.nt.mmu.read(old, size * ENTRY_SIZE)
        self._make(2 * size)
        for at in range(0, len(data), ENTRY_SIZE):
            va = int.from_bytes(data[at : at + 8], "little")
            if va and not va & FREE:
                self._store(data[at : at + ENTRY_SIZE])
        mm.system.free(mm.nonpaged, old, size * ENTRY_SIZE // PAGE_SIZE)
