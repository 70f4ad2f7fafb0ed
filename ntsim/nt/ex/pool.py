"""Nonpaged and paged pool.

A block smaller than a page has a POOL_HEADER before it and never crosses a page; pages are carved
into blocks of one size. A larger one gets pages of its own, without header, in scattered frames,
and its tag in the big-page table (`big` caches it). Fresh memory is not zeroed. Nonpaged memory is
raw, paged memory guarded: its pages come into being, and may leave, one by one.

What a free build notices is noticed when a block is freed, from the bytes of its header: 0xC2 for a
block that is not allocated (parameter 1 = 7), was never one (0x46), or is billed to what is no
process (0xD); 0x19 for a header that an overrun has spoilt (0x20); 0x4E for pages that an MDL still
holds locked (0x9A). Source: bug checks 0xC2, 0x19 and 0x4E reference; Windows Internals 7, ch. 5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from ntsim.abi import bugcodes
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.events import PoolAllocated, PoolFreed
from ntsim.nt.ex.big_pages import BigPageTable
from ntsim.nt.mm.frames import POISON, OutOfFrames
from ntsim.nt.mm.system_space import MM_EXECUTE_READWRITE, MM_READWRITE, Region, demand_zero

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

HEADER = 0x10
LARGEST_SMALL = PAGE_SIZE - HEADER * 2
PAGED_POOL = 1
NX = 0x200
TYPE_NONPAGED, TYPE_PAGED = 2, 3
"""POOL_HEADER.PoolType of an allocated block: pool type plus 2 (InUse); 0 when free."""

QUOTA_CHARGED = 8
"""Bit of POOL_HEADER.PoolType: ProcessBilled is set."""

BAD_QUOTA_PROCESS = 0xD
STILL_LOCKED, ACTIVE_AND_VALID = 0x9A, 6
"""0x4E: a page is freed that is locked for I/O; the state of every page in use."""

POISON_BYTE = bytes([POISON])
BUFFER_TAG = "IoSB"
_NAMES = {False: "nonpaged", True: "paged"}


@dataclass(slots=True)
class BigBlock:
    """An entry of the big-page table."""

    pages: int
    size: int
    tag: str
    paged: bool


@cache
def tag_text(tag: int) -> str:
    """The four characters of a pool tag, NULs among them if it has any."""
    return tag.to_bytes(4, "little").decode("latin-1")


@cache
def tag_value(tag: str) -> int:
    return int.from_bytes(tag.encode("latin-1").ljust(4, b" ")[:4], "little")


class Pool:
    """Both pools of one machine. `free_blocks` are per (kind, block size) the free small ones,
    `paying` the processes that were ever charged for a block."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.free_blocks: dict[tuple[bool, bool, int], list[int]] = {}
        self.kinds: dict[int, tuple[bool, bool, int]] = {}
        self.big: dict[int, BigBlock] = {}
        self.big_pages = BigPageTable(nt)
        self.usage: dict[tuple[str, bool], list[int]] = {}
        self.quota_cookie = 0  # set at boot
        self.paying: set[int] = set()
        self.special: Any = None  # the verifier's special pool
        self.on_free: Callable[[int], object] | None = None  # the verifier hears of frees
        self._buffers: dict[int, tuple[list[int], list[int], int]] = {}
        self.billed: dict[int, int] = {}  # small blocks charged to a quota: the process object

    def allocate(
        self,
        size: int,
        tag: str,
        *,
        paged: bool = False,
        executable: bool = False,
        zero: bool = False,
    ) -> int:
        """A block of `size` bytes, 0 if memory is short. Alignment 16, a page for large ones."""
        if self.special is not None:
            address = self.special.allocate(size, tag, paged, executable, zero)
            if address:
                return int(address)
        room = size
        try:
            if size > LARGEST_SMALL:
                address = self._allocate_big(size, tag, paged, executable)
            else:
                block = ((size or 1) + HEADER + 15) & ~15
                address = self._allocate_small(block, tag, paged, executable)
                room = block - HEADER
        except OutOfFrames:
            return 0
        if zero:
            self.nt.mmu.write(address, bytes(size))
        elif not paged or size <= LARGEST_SMALL:
            self.nt.mmu.write(address, POISON_BYTE * size)
        count = self.usage.get((tag, paged)) or self.usage.setdefault((tag, paged), [0, 0, 0])
        count[0] += 1
        count[2] += room
        return address

    def allocate_buffer(self, size: int) -> int:
        """A nonpaged buffer of a request, charged to the current process; 0 if memory is short.

        All of its content is the caller's to write, `POISON_BYTE` where it has nothing.
        """
        if self.special is None:
            block = (size + HEADER + 15) & ~15
            free, count, word = self._buffers.get(block) or self._of_buffers(block)
            nt = self.nt
            memory = nt.mmu
            at = memory.pairs[free[-1]] if free else -1
            if free and at >= 0:
                va, words = free.pop(), memory.words
                process = nt.il.current.context.v.ApcState_Process
                if process != nt.ps.system.va:
                    word |= QUOTA_CHARGED << 24
                    words[at + 1] = process ^ va ^ self.quota_cookie
                    self.paying.add(process)
                words[at] = word
                count[0] += 1
                count[2] += block - HEADER
                return va + HEADER
        address = self.allocate(size, BUFFER_TAG)
        if address:
            self._bill(address)
        return address

    def _of_buffers(self, block: int) -> tuple[list[int], list[int], int]:
        """The free blocks of a size for buffers (large ones: none), the count, the header."""
        if block > LARGEST_SMALL + HEADER:
            return [], [], 0
        free = self.free_blocks.setdefault((False, False, block), [])
        count = self.usage.setdefault((BUFFER_TAG, False), [0, 0, 0])
        word = TYPE_NONPAGED << 24 | (block >> 4) << 16 | tag_value(BUFFER_TAG) << 32
        made = self._buffers[block] = free, count, word
        return made

    def _bill(self, address: int) -> None:
        """Charge a small buffer of a request to the current process, which outlives the request.

        The System process pays nothing.
        """
        process = self.nt.il.current.context.v.ApcState_Process
        if not address & 0xFFF or process == self.nt.ps.system.va:
            return
        if self.special is None or address not in self.special:
            self._write_bill(address - HEADER, process)

    def _write_bill(self, va: int, process: int) -> None:
        """The header names the process, mixed with its own address and a cookie, as in 19041."""
        memory, value = self.nt.mmu, process ^ va ^ self.quota_cookie
        at = memory.pairs[va]
        if at >= 0:
            memory.words[at] |= QUOTA_CHARGED << 24
            memory.words[at + 1] = value
        else:
            memory.write_word(va, memory.read_word(va) | QUOTA_CHARGED << 24)
            memory.write_word(va + 8, value)
        self.paying.add(process)

    def _allocate_small(self, block: int, tag: str, paged: bool, executable: bool) -> int:
        """What follows the header of a free block of `block` bytes."""
        kind = (paged, executable, block)
        free = self.free_blocks.get(kind)
        if not free:
            free = self._carve(kind)
        address = free.pop()
        word = (TYPE_PAGED if paged else TYPE_NONPAGED) << 24 | (block >> 4) << 16
        self.nt.mmu.write_word(address, word | tag_value(tag) << 32)
        return address + HEADER

    def _carve(self, kind: tuple[bool, bool, int]) -> list[int]:
        """A new page cut into free blocks; free ones have a header too."""
        paged, executable, block = kind
        page = self._new_pages(1, paged, executable)
        self.kinds[page] = kind
        blocks = [page + offset for offset in range(0, PAGE_SIZE - block + 1, block)]
        for address in blocks:
            self.nt.mmu.write_word(address, (block >> 4) << 16)
        free = self.free_blocks.setdefault(kind, [])
        free.extend(reversed(blocks))
        return free

    def _region(self, paged: bool) -> Region:
        return self.nt.mm.paged if paged else self.nt.mm.nonpaged

    def _new_pages(self, pages: int, paged: bool, executable: bool) -> int:
        mm = self.nt.mm
        if not paged:
            va = mm.system.allocate(mm.nonpaged, pages, executable=executable, zero=False)
            return va
        if pages > mm.frames.available:
            raise OutOfFrames
        va = mm.paged.reserve(pages)
        code = MM_EXECUTE_READWRITE if executable else MM_READWRITE
        for i in range(pages):
            mm.mmu.write_entry(mm.system_root, va + i * PAGE_SIZE, demand_zero(code))
        return va

    def _allocate_big(self, size: int, tag: str, paged: bool, executable: bool) -> int:
        pages = -(-size // PAGE_SIZE)
        address = self._new_pages(pages, paged, executable)
        self.big[address] = BigBlock(pages, size, tag, paged)
        kind = PAGED_POOL if paged else 0 if executable else NX
        self.big_pages.add(address, tag_value(tag), kind, pages, pages * PAGE_SIZE - size)
        return address

    def charge(self, address: int, process: int) -> None:
        """A small block keeps the process it is charged to referenced; a large one does not.

        Source: kmtests ExPools.c; POOL_HEADER.PoolType of a charged block has bit 3.
        """
        if address % PAGE_SIZE == 0 or (self.special is not None and address in self.special):
            return
        self.nt.ob.reference(process)
        self.billed[address] = process
        self._write_bill(address - HEADER, process)

    def room(self, address: int) -> int:
        """The size of an allocated block: of a small one without its header, of others whole pages.

        0 for what is no block.
        """
        if address % PAGE_SIZE == 0:
            big = self.big.get(address)
            return big.pages * PAGE_SIZE if big else 0
        kind = self.kinds.get(address & ~0xFFF)
        return kind[2] - HEADER if kind else 0

    def free(self, address: int, tag: str | None = None) -> tuple[int, str, bool]:
        """Give a block back: its size, tag and whether it was paged. Bad blocks stop the system."""
        if self.on_free is not None:
            self.on_free(address)
        if self.billed and (process := self.billed.pop(address, 0)):
            self.nt.ob.dereference(process)
        if self.special is not None and address in self.special:
            found: tuple[int, str, bool] = self.special.free(address, tag)
            return found
        if address & 0xFFF == 0:
            return self._free_big(address, tag)
        return self._free_small(address, tag)

    def _free_big(self, address: int, tag: str | None) -> tuple[int, str, bool]:
        found = self.big.get(address)
        if found is None:
            self.nt.bugcheck(bugcodes.BAD_POOL_CALLER, 0x46, address, 0, 0)
        if tag is not None:
            self._check_tag(address, tag_value(found.tag), tag)
        del self.big[address]
        self.big_pages.remove(address)
        mm = self.nt.mm
        if found.paged:
            self._free_paged_pages(address, found.pages)
        else:
            self._check_unlocked(address, found.pages)
            mm.system.free(mm.nonpaged, address, found.pages)
        self._count(found.tag, found.paged, found.size)
        return found.size, found.tag, found.paged

    def _check_unlocked(self, address: int, pages: int) -> None:
        """0x4E for a page whose reference count is not the pool's alone."""
        locks = self.nt.mm.frames.locks
        if not locks:
            return
        for va in range(address, address + pages * PAGE_SIZE, PAGE_SIZE):
            pa = self.nt.mmu.physical(va)
            if pa in locks:
                code, count = bugcodes.PFN_LIST_CORRUPT, 1 + locks[pa]
                self.nt.bugcheck(code, STILL_LOCKED, pa >> 12, ACTIVE_AND_VALID, count)

    def _free_paged_pages(self, address: int, pages: int) -> None:
        mm = self.nt.mm
        for page in range(address, address + pages * PAGE_SIZE, PAGE_SIZE):
            entry = mm.tables.read(mm.system_root, page)
            mm.mmu.write_entry(mm.system_root, page, 0)
            if entry & 1:
                mm.frames.give(entry & 0x000F_FFFF_FFFF_F000)
            else:
                mm.paging_file.pop(entry >> 32, None)
        mm.paged.release(address, pages)

    def _free_small(self, address: int, tag: str | None) -> tuple[int, str, bool]:
        kind = self.kinds.get(address & ~0xFFF)
        code = bugcodes.BAD_POOL_CALLER
        if kind is None or address & 0xF:
            self.nt.bugcheck(code, 0x46, address, 0, 0)
        paged, _, block = kind
        va = address - HEADER
        offset, memory = va & 0xFFF, self.nt.mmu
        at, words = memory.pairs[va], memory.words
        if at >= 0:
            both, billed = words[at], words[at + 1]
        else:
            both, billed = memory.read_word(va), memory.read_word(va + 8)
        word, pool_tag = both & 0xFFFF_FFFF, both >> 32
        if word >> 16 & 0xFF != block >> 4 or offset % block:
            self.nt.bugcheck(bugcodes.BAD_POOL_HEADER, 0x20, va, va + block, word)
        if not word >> 24 & 2:
            self.nt.bugcheck(code, 7, pool_tag, word, address)
        if offset + 2 * block <= PAGE_SIZE:  # the header after this block must still be one
            following = words[at + (block >> 3)] if at >= 0 else memory.read_word(va + block)
            if following & 0xFF_FFFF != block >> 4 << 16:
                found = following & 0xFFFF_FFFF
                self.nt.bugcheck(bugcodes.BAD_POOL_HEADER, 0x20, va, va + block, found)
        if word >> 24 & QUOTA_CHARGED:
            process = billed ^ va ^ self.quota_cookie
            if process not in self.paying:
                self.nt.bugcheck(code, BAD_QUOTA_PROCESS, address, pool_tag, process)
        text = tag_text(pool_tag)
        if tag is not None:
            self._check_tag(address, pool_tag, tag)
        if at >= 0:
            words[at] = (block >> 4) << 16 | pool_tag << 32
        else:
            memory.write_word(va, (block >> 4) << 16 | pool_tag << 32)
        self.free_blocks[kind].append(va)
        count = self.usage.get((text, paged)) or self._usage_of(text, paged)
        count[1] += 1
        size = block - HEADER
        count[2] -= size
        return size, text, paged

    def _check_tag(self, address: int, own: int, tag: str) -> None:
        """The tag a block is freed with must be its own; bit 31 only says that this is wanted."""
        if (tag_value(tag) ^ own) & 0x7FFF_FFFF:
            self.nt.bugcheck(bugcodes.BAD_POOL_CALLER, 0xA, address, own, tag_value(tag))

    def _count(self, tag: str, paged: bool, size: int) -> None:
        count = self._usage_of(tag, paged)
        count[1] += 1
        count[2] -= size

    def _usage_of(self, tag: str, paged: bool) -> list[int]:
        """Allocations, frees and bytes in use of a tag."""
        return self.usage.setdefault((tag, paged), [0, 0, 0])

    def record_allocation(self, address: int, size: int, tag: str) -> None:
        self.nt.emit_at(PoolAllocated, address, size, tag.rstrip("\0"))

    def record_free(self, address: int, tag: str) -> None:
        self.nt.emit_at(PoolFreed, address, tag.rstrip("\0"))
