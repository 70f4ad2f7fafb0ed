"""Special pool: every small block of a verified driver has a page of its own.

The block lies at the end of its page and the next page is not there, so that a write past the end
faults at the access; with `verify-start` it lies at the start and the page before is missing. The
rest of the page holds a pattern that is checked when the block is freed (0xC1). A freed page is
gone, and any further access faults; its addresses come back after 65,536 further frees. While a
nonpaged block lives its page is read as fast as other pool (`hw/lent.py`). Below DISPATCH_LEVEL a
fault is 0xD5 (freed) or 0xD6 (beyond the end) if the driver's own instruction faults, 0xCC or 0xCD
in a routine of the kernel; at DISPATCH_LEVEL and above it is 0xD1 or 0xA, as for any memory that is
not there. Blocks of more than a page, and all of them when frames run short, come from the ordinary
pool. Source: WDK "Special Pool", bug checks 0xC1, 0xCC, 0xCD, 0xD5, 0xD6.
"""

from __future__ import annotations

import ctypes
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from ntsim.abi import bugcodes
from ntsim.hw.mmu import WRITE
from ntsim.hw.paging import PTE_FRAME, PTE_NX, PTE_PRESENT
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.ex.pool import LARGEST_SMALL, tag_value
from ntsim.nt.ki import frames
from ntsim.nt.mm.frames import POISON, OutOfFrames
from ntsim.nt.mm.system_space import VALID, Region
from ntsim.nt.vf.notes import Moment, Note

if TYPE_CHECKING:
    from ntsim.nt.vf.verifier import Verifier

BASE, SIZE = 0xFFFF_CF80_0000_0000, 0x80_0000_0000
ALIGNMENT = 16
CORRUPTED_BEFORE, CORRUPTED_AFTER, NOT_ALLOCATED = 0x23, 0x24, 0x20
IRP_TAG = "Irp "

KEPT_FRAMES = 1024
"""Special pool leaves so many frames to everyone else."""

REMEMBERED = 65536
"""Freed blocks that can still be told from addresses that never were one."""


@dataclass(slots=True)
class Block:
    """A block; `made` and `freed` are the stacks that allocated and freed it, None for an IRP that
    comes and goes with a request: of the way that freed it the driver's line is kept, `at`.
    `entry` is the physical address of its page-table entry."""

    address: int
    size: int
    tag: str
    paged: bool
    made: Moment | None
    entry: int
    freed: Moment | None = None
    gone: bool = False
    at: str = ""

    @property
    def page(self) -> int:
        return self.address & ~0xFFF

    @property
    def pattern(self) -> int:
        """The byte that fills the rest of its page."""
        return self.page >> 13 & 0x7F | 0x80


class SpecialPool:
    """The blocks of one machine, by page."""

    def __init__(self, vf: Verifier) -> None:
        self.vf, self.nt = vf, vf.nt
        self.region = Region(BASE, SIZE)
        self.region.next += PAGE_SIZE  # the page before the first block is not there
        self.blocks: dict[int, Block] = {}
        self.old: deque[int] = deque()
        self.table = 0, 0  # the page table last used: number of its 2 MiB, its address
        self.at_start, self.irps = vf.on("verify-start"), vf.on("io")

    def __contains__(self, address: int) -> bool:
        return BASE <= address < BASE + SIZE

    def block_at(self, address: int) -> Block | None:
        """The block, freed or not, in whose page an address lies."""
        return self.blocks.get(address & ~0xFFF)

    def allocate(self, size: int, tag: str, paged: bool, executable: bool, zero: bool) -> int:
        """A block for the driver that asks; 0 if it has to come from elsewhere."""
        if self.vf.requester is None:
            return 0
        return self._allocate(size, tag, paged, executable, zero)

    def allocate_irp(self, size: int, tag: str) -> int:
        """I/O verification takes every IRP from here, whoever asks; 0 without it. Source: WDK "I/O
        Verification"."""
        return self._allocate(size, tag, False, False, False) if self.irps else 0

    def _allocate(self, size: int, tag: str, paged: bool, executable: bool, zero: bool) -> int:
        mm = self.nt.mm
        if size > LARGEST_SMALL or mm.frames.available < KEPT_FRAMES:
            return 0
        try:
            page = self.region.reserve(2)
            entry = self._entry(page)
        except OutOfFrames:
            return 0
        room = -(-(size or 1) // ALIGNMENT) * ALIGNMENT
        address = page if self.at_start else page + PAGE_SIZE - room
        made = None if tag == IRP_TAG else self.vf.moment()
        block = self.blocks[page] = Block(address, size, tag, paged, made, entry)
        pa = mm.frames.take_last(block.pattern)
        ctypes.memset(mm.ram.address + pa + (address & 0xFFF), 0 if zero else POISON, size)
        mm.ram.u64[entry >> 3] = pa | VALID | (0 if executable else PTE_NX)
        if not paged:
            mm.mmu.lend(page, pa)
        elif self.vf.paging is not None:
            self.vf.paging.note(page)
        return address

    def _entry(self, page: int) -> int:
        """Physical address of the page-table entry of a page; those of system space stay."""
        number, table = page >> 21, self.table
        if table[0] != number:
            mm = self.nt.mm
            first = mm.tables.entry_address(mm.system_root, number << 21, create=True)
            assert first is not None
            table = self.table = number, first
        return table[1] + (page >> 12 & 0x1FF) * 8

    def free(self, address: int, tag: str | None) -> tuple[int, str, bool]:
        """Check the page, take it away: size, tag and whether it was paged."""
        block = self.block_at(address)
        if block is None or block.gone or block.address != address:
            self._bad_free(address, block)
        if tag is not None and (tag_value(tag) ^ tag_value(block.tag)) & 0x7FFF_FFFF:
            self.nt.bugcheck(
                bugcodes.BAD_POOL_CALLER, 0xA, address, tag_value(block.tag), tag_value(tag)
            )
        self._check_pattern(block)
        self._take_away(block)
        block.gone = True
        if block.made is None:
            block.at = self._completed(address) or frames.source_line(self.nt)
        else:
            block.freed = self.vf.moment()
        self.old.append(block.page)
        if len(self.old) > REMEMBERED:
            oldest = self.old.popleft()
            del self.blocks[oldest]
            self.region.release(oldest, 2)
        return block.size, block.tag, block.paged

    def _completed(self, irp: int) -> str:
        """The line that completed an IRP, if its dispatch routine is still running."""
        flights = self.vf.io.flights.get(irp)
        place = flights[-1].completed if flights else None
        if place is None or place.frame is None:
            return ""
        code = place.frame.f_code
        name = self.nt.host.files.get(code.co_filename)
        return "" if name is None else f"{name}:{place.line} {code.co_name}"

    def _take_away(self, block: Block) -> None:
        """Unmap a block's page: whoever touches it from now on faults."""
        mm, page = self.nt.mm, block.page
        words, index = mm.ram.u64, block.entry >> 3
        entry, words[index] = words[index], 0
        if not block.paged:
            mm.mmu.revoke(page)
        mm.mmu.invalidate(page)
        if entry & PTE_PRESENT:
            mm.system.forget(page, entry)
            mm.frames.give(entry & PTE_FRAME)
        else:
            mm.paging_file.pop(entry >> 32, None)

    def _bad_free(self, address: int, block: Block | None) -> NoReturn:
        """0xC1 with 0x20: not allocated, or no longer."""
        why = f"{address:#x} was freed and is no allocated block of special pool."
        if block is not None and block.gone:
            why = f"A pool block at {address:#x} was freed twice."
        self.vf.violation(
            address, 0, 0, NOT_ALLOCATED, why=why, notes=self._notes(block),
            code=bugcodes.SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION,
        )  # fmt: skip

    def _check_pattern(self, block: Block) -> None:
        """0xC1 with 0x23 or 0x24 if bytes before or after the block were written."""
        page, end = block.page, block.address + block.size
        data = self.nt.mmu.read(page, PAGE_SIZE)
        value = block.pattern
        for start, stop, kind in (
            (page, block.address, CORRUPTED_BEFORE),
            (end, page + PAGE_SIZE, CORRUPTED_AFTER),
        ):
            rest = data[start - page : stop - page]
            if rest == bytes([value]) * len(rest):
                continue
            wrong = [start + i for i, byte in enumerate(rest) if byte != value]
            bad = wrong[-1] if kind == CORRUPTED_BEFORE else wrong[0]
            side = "before" if kind == CORRUPTED_BEFORE else "after the end of"
            why = f"Bytes {side} the {block.size}-byte block at {block.address:#x} were written, "
            self.vf.violation(
                block.address, bad, block.size, kind, notes=self._notes(block),
                why=f"{why}at {bad:#x}: noticed when it was freed.",
                code=bugcodes.SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION,
            )  # fmt: skip

    def fault(self, va: int, error: int) -> None:
        """A page fault below DISPATCH_LEVEL that nothing can resolve: whose page was it?"""
        if va not in self.region:
            return
        own = self.block_at(va)
        block = own or self._beside(va)
        if block is None:
            return
        frame = frames.instruction_pointer(self.nt)
        in_driver = frame is not None and frame.image is not self.nt.nt_image
        if own is not None:
            freed = bugcodes.PAGE_FAULT_IN_FREED_SPECIAL_POOL
            code = bugcodes.DRIVER_PAGE_FAULT_IN_FREED_SPECIAL_POOL if in_driver else freed
            why = f"A pool block was used after it was freed: {va:#x} was "
        else:
            past = bugcodes.PAGE_FAULT_BEYOND_END_OF_ALLOCATION
            code = bugcodes.DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION if in_driver else past
            offset = va - block.address
            place = f"{-offset} bytes before the start" if offset < 0 else f"at offset {offset}"
            why = f"A pool block of {block.size} bytes was left, {place}: {va:#x} was "
        self.vf.violation(
            va, 1 if error & WRITE else 0, frame.address if frame else 0, 0, code=code,
            why=why + ("written." if error & WRITE else "read."), notes=self._notes(block),
        )  # fmt: skip

    def _beside(self, va: int) -> Block | None:
        """The block whose page the missing one guards."""
        page = va & ~0xFFF
        neighbours = (page + PAGE_SIZE, page - PAGE_SIZE)
        order = neighbours if self.at_start else neighbours[::-1]
        return next((self.blocks[each] for each in order if each in self.blocks), None)

    def _notes(self, block: Block | None) -> list[Note]:
        if block is None:
            return []
        text = f"{block.size} bytes were allocated at {block.address:#x}, tag '{block.tag}'."
        notes = [Note(text, block.made)]
        if block.gone:
            at = f" at {block.at}" if block.at else ""
            notes.append(Note(f"The block at {block.address:#x} was freed{at}.", block.freed))
        return notes
