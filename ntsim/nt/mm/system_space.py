"""System address space: regions from which page-aligned ranges are handed out and mapped.

A region whose memory is raw has a host window of its own in which its pages lie as they lie in
virtual memory, so that a structure over scattered frames is one host view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ntsim.hw.mmu import Mmu
from ntsim.hw.paging import PTE_ACCESSED, PTE_DIRTY, PTE_FRAME, PTE_NX, PTE_PRESENT, PTE_WRITE
from ntsim.hw.ram import PAGE_SIZE, AliasWindow
from ntsim.nt.mm.frames import Frames, OutOfFrames

READABLE = PTE_PRESENT | PTE_ACCESSED
VALID = READABLE | PTE_WRITE | PTE_DIRTY
LINED_UP_LIMIT = 32_768
"""Scattered pages that a machine lines up for the host, gaps between them included. Each is a
mapping of the host process, and Linux gives one 65,530 (vm.max_map_count)."""
MM_READWRITE, MM_EXECUTE_READWRITE = 4, 6
"""Protection codes of a software PTE (bits 9:5)."""


def demand_zero(protection: int) -> int:
    """The entry of a committed page that no one has touched."""
    return protection << 5


class Region:
    """Virtual addresses from `base`; freed ranges are reused by size, last freed first."""

    def __init__(self, base: int, size: int) -> None:
        self.base, self.size = base, size
        self.next = base
        self.freed: dict[int, list[int]] = {}
        self.window: AliasWindow | None = None

    def reserve(self, pages: int) -> int:
        """Address space for `pages` pages and nothing behind it yet; OutOfFrames when exhausted."""
        reuse = self.freed.get(pages)
        if reuse:
            return reuse.pop()
        va = self.next
        if va + pages * PAGE_SIZE > self.base + self.size:
            raise OutOfFrames
        self.next += pages * PAGE_SIZE
        return va

    def release(self, va: int, pages: int) -> None:
        self.freed.setdefault(pages, []).append(va)

    def __contains__(self, va: int) -> bool:
        return self.base <= va < self.base + self.size

class SystemSpace:
    """Maps frames at system addresses. `root` is the PML4 that all kernel halves share.

    `code` are the numbers of frames with loaded code, which is read-only where it was loaded.
    `watch` hears, with a frame's address, that one can be written now, through another mapping,
    with CR0.WP clear or by a device: what Python writes the engine does not see. `kernel` are
    those of them that system calls go through: `kernel_open` hears when one can be written.
    """

    def __init__(self, mmu: Mmu, frames: Frames, root: int) -> None:
        self.mmu, self.frames, self.root = mmu, frames, root
        self.code = mmu.code
        self.watch: Callable[[int], object] = lambda frame: None
        self.kernel: frozenset[int] = frozenset()
        self.kernel_open: Callable[[], None] = lambda: None
        self.lined_up = 0
        mmu.code_writable = self.expose

    def expose(self, pa: int, size: int = 1) -> None:
        """Whatever code there is at a physical address can be written by others from now on."""
        for number in range(pa >> 12, (pa + size - 1 >> 12) + 1):
            if number in self.code:
                self.code.discard(number)
                self.watch(number << 12)
                if number in self.kernel:
                    self.kernel_open()

    def allocate(
        self,
        region: Region,
        pages: int,
        *,
        executable: bool = False,
        zero: bool = True,
        guard: int = 0,
    ) -> int:
        """Raw memory of `pages` pages, with `guard` unmapped pages below it.

        The frames are scattered as long as the host can line them up, contiguous from then on.
        """
        unused = region.next
        va = region.reserve(pages + guard) + guard * PAGE_SIZE
        scattered = pages == 1 or (self.frames.ram.can_alias and self.lined_up < LINED_UP_LIMIT)
        try:
            frames = self._scattered(pages, zero) if scattered else self._contiguous(pages, zero)
        except OutOfFrames:
            region.release(va - guard * PAGE_SIZE, pages + guard)
            raise
        if scattered and pages > 1 and region.next != unused:
            self.lined_up += pages + guard
        self.map(va, frames, executable=executable)
        self.make_raw(region, va, frames)
        return va

    def _scattered(self, pages: int, zero: bool) -> list[int]:
        if pages > self.frames.available:
            raise OutOfFrames
        return [self.frames.take(zero) for _ in range(pages)]

    def _contiguous(self, pages: int, zero: bool) -> list[int]:
        first = self.frames.take_run(pages, 0, self.frames.ram.size - 1)
        if first is None:
            raise OutOfFrames
        if zero:
            self.frames.ram.write(first, bytes(pages * PAGE_SIZE))
        return [first + i * PAGE_SIZE for i in range(pages)]

    def map(
        self, va: int, frames: Sequence[int], *, executable: bool = False, writable: bool = True
    ) -> None:
        """Write valid entries for `frames` from `va` on; none if there is no room for tables."""
        bits = (VALID if writable else READABLE) | (0 if executable else PTE_NX)
        for i, pa in enumerate(frames):
            page = va + i * PAGE_SIZE
            try:
                self.mmu.write_entry(self.root, page, pa | bits)
            except OutOfFrames:
                self.unmap(va, i)
                raise
            if writable:
                self.expose(pa)

    def make_raw(self, region: Region, va: int, frames: Sequence[int]) -> None:
        """Let Python see mapped pages as one stretch of host memory."""
        ram = self.frames.ram
        if len(frames) == 1 or not ram.can_alias:
            self.mmu.map_raw(va, ram.address + frames[0], frames)
            return
        if region.window is None:
            region.window = AliasWindow(ram, region.size)
        offset = va - region.base
        region.window.map(offset, frames)
        self.mmu.map_raw(va, region.window.host(offset), frames)

    def free(self, region: Region, va: int, pages: int, guard: int = 0) -> None:
        """Unmap what `allocate` mapped and return its frames and addresses."""
        self.mmu.unmap_raw(va, pages)
        for page in range(va, va + pages * PAGE_SIZE, PAGE_SIZE):
            entry = self.mmu.tables.read(self.root, page)
            self.mmu.write_entry(self.root, page, 0)
            if entry & PTE_PRESENT:
                self.forget(page, entry)
                self.frames.give(entry & PTE_FRAME)
        region.release(va - guard * PAGE_SIZE, pages + guard)

    def forget(self, page: int, entry: int) -> None:
        """The mapping of `entry`'s frame at `page` is gone."""
        self.frames.pfn.unmapped(entry & PTE_FRAME, page)

    def unmap(self, va: int, pages: int) -> None:
        """Take pages out of system space; their frames stay whoever's they are."""
        self.mmu.unmap_raw(va, pages)
        for page in range(va, va + pages * PAGE_SIZE, PAGE_SIZE):
            entry = self.mmu.tables.read(self.root, page)
            self.mmu.write_entry(self.root, page, 0)
            if entry & PTE_PRESENT:
                self.forget(page, entry)
