"""Four-level page tables as bytes in RAM (SDM 3, chapter "Paging", 4-level paging).

Functions of physical addresses only: who may map what is the memory manager's business. Entries are
plain 64-bit ints; `PteFlags`-style constants below name their bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ntsim.hw.ram import PAGE_SIZE, Ram

PTE_PRESENT = 1 << 0
PTE_WRITE = 1 << 1
PTE_USER = 1 << 2
PTE_ACCESSED = 1 << 5
PTE_DIRTY = 1 << 6
PTE_LARGE = 1 << 7
PTE_NX = 1 << 63
PTE_FRAME = 0x000F_FFFF_FFFF_F000

SELF_MAP_INDEX = 0x1ED
"""PML4 entry that points at the PML4 itself, so that tables appear in virtual memory."""

SELF_MAP = 0xFFFF << 48 | SELF_MAP_INDEX << 39
"""Where the page tables of the running address space appear: the entry of `va` is the word at
`SELF_MAP + (va >> 12) * 8`."""

_LEVEL_SHIFTS = (39, 30, 21, 12)
SELF_MAP_BITS = 0x7F_FFFF_FFF8
"""Of an entry's address: where in the self-map it is."""


def is_canonical(va: int) -> bool:
    """Bits 63:47 of a canonical address are all equal."""
    return va >> 47 in (0, 0x1FFFF)


def entry_va(va: int, level: int = 1) -> int:
    """Where the entry of `va` at a level (1 = page table ... 4 = PML4) appears in memory."""
    for _ in range(level):
        va = SELF_MAP | va >> 9 & SELF_MAP_BITS
    return va


class PageTables:
    """Reads and writes the tables in `ram`; `new_table` gives the pa of a zeroed frame.

    `placed(pa, va)` hears of each table that is made, and where the entry that points at it appears
    in virtual memory.
    """

    def __init__(self, ram: Ram, new_table: Callable[[], int]) -> None:
        self.ram = ram
        self.new_table = new_table
        self.placed: Callable[[int, int], None] = lambda pa, va: None

    def entry_address(self, root: int, va: int, level: int = 1, create: bool = False) -> int | None:
        """Physical address of the entry for `va` at `level` (4 = PML4 ... 1 = page table).

        Without `create`, None if a table on the way is absent; a large page on the way ends the
        walk with the address of its entry.
        """
        table = root & PTE_FRAME
        words = self.ram.u64
        for depth, shift in enumerate(_LEVEL_SHIFTS):
            address = table + ((va >> shift) & 0x1FF) * 8
            if depth == 4 - level:
                return address
            entry = words[address >> 3]
            if not entry & PTE_PRESENT:
                if not create:
                    return None
                user = PTE_USER if va >> 47 == 0 else 0
                made = self.new_table()
                self.placed(made, entry_va(va, 4 - depth))
                entry = made | PTE_PRESENT | PTE_WRITE | PTE_ACCESSED | user
                words[address >> 3] = entry
            elif entry & PTE_LARGE and depth:
                return address
            table = entry & PTE_FRAME
        raise AssertionError(f"level {level} is not 1 to 4")

    def read(self, root: int, va: int) -> int:
        """The page-table entry of `va`, 0 if there is no page table for it."""
        address = self.entry_address(root, va)
        return 0 if address is None else self.ram.u64[address >> 3]

    def write(self, root: int, va: int, entry: int) -> None:
        """Store the page-table entry of `va`, making the tables on the way."""
        address = self.entry_address(root, va, create=True)
        assert address is not None
        self.ram.u64[address >> 3] = entry

    def translate(self, root: int, va: int) -> tuple[int, int] | None:
        """(physical address of the byte, effective rights) or None if not present.

        Rights are PTE_WRITE and PTE_USER if every level grants them, PTE_NX if any level sets it.
        """
        table, words = root & PTE_FRAME, self.ram.u64
        grants, forbids = PTE_WRITE | PTE_USER, 0
        for shift in _LEVEL_SHIFTS:
            entry = words[(table + ((va >> shift) & 0x1FF) * 8) >> 3]
            if not entry & PTE_PRESENT:
                return None
            grants &= entry
            forbids |= entry & PTE_NX
            if shift == 12 or (entry & PTE_LARGE and shift != 39):
                mask = (1 << shift) - 1
                return (entry & PTE_FRAME & ~mask) | (va & mask), grants | forbids
            table = entry & PTE_FRAME
            if table >= self.ram.size:
                return None
        return None

    def mark(self, root: int, va: int, bits: int) -> None:
        """Set accessed or dirty bits in the entry of `va`, as the processor does."""
        address = self.entry_address(root, va)
        if address is not None:
            self.ram.u64[address >> 3] |= bits

    def present(self, root: int, first: int, last: int) -> Iterator[tuple[int, int]]:
        """(va, entry) of every present 4 KiB page from `first` up to but not including `last`."""
        va = first
        while va < last:
            address = self.entry_address(root, va)
            if address is None:
                va = (va | 0x1FFFFF) + 1
                continue
            entry = self.ram.u64[address >> 3]
            if entry & PTE_PRESENT:
                yield va, entry
            va += PAGE_SIZE
