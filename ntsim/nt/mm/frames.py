"""Physical page frames: who gets which.

Single frames come in an order scattered by the seed, so that a driver which takes virtually
contiguous memory for physically contiguous shows it. The top quarter of RAM is kept for contiguous
requests, first fit.
"""

from __future__ import annotations

import ctypes
from bisect import bisect

from ntsim.hw.prng import Random
from ntsim.hw.ram import PAGE_SIZE, Ram
from ntsim.nt.mm.pfn import PfnDatabase, database_pages

FIRST_FREE = 0x20_0000
POISON = 0xBA
"""What fresh memory holds that nobody zeroed: noticeable, and the same in every run."""


class OutOfFrames(Exception):
    """No physical memory is left; the caller reports STATUS_INSUFFICIENT_RESOURCES."""


class Frames:
    """The free frames of one machine; addresses are physical, sizes in pages."""

    def __init__(self, ram: Ram, seed: int) -> None:
        self.ram = ram
        self.random = Random(seed, "frames")
        self.split = split = max(FIRST_FREE + 0x100000, ram.size * 3 // 4) & ~0xFFF
        self.locks: dict[int, int] = {}
        self.awaiting_unlock: set[int] = set()
        self.free = list(range(FIRST_FREE, split, PAGE_SIZE))
        self.low = list(range(0x10_0000, FIRST_FREE, PAGE_SIZE))
        self.pfn = PfnDatabase(ram, ram.size - database_pages(ram.size) * PAGE_SIZE)
        self.runs: list[tuple[int, int]] = [(split, (self.pfn.base - split) // PAGE_SIZE)]
        self.pfn.taken(self.pfn.base, database_pages(ram.size))

    @property
    def available(self) -> int:
        """Free frames for single-page requests."""
        return len(self.free)

    def is_free(self, pa: int) -> bool:
        """Whether nobody has a frame of memory."""
        if any(start <= pa < start + pages * PAGE_SIZE for start, pages in self.runs):
            return True
        return pa in self.free

    def first_free(self, start: int, end: int) -> int | None:
        """The lowest free frame of a physical range, None if none of it is free."""
        found = [pa for pa in self.free if start <= pa < end]
        runs = ((max(start, run), min(end, run + pages * PAGE_SIZE)) for run, pages in self.runs)
        found += [first for first, last in runs if first < last]
        return min(found, default=None)

    def take(self, zero: bool = True) -> int:
        """One frame; OutOfFrames if none is left."""
        free = self.free
        if not free:
            raise OutOfFrames
        index = self.random.next() % len(free)
        pa = free[index]
        free[index] = free[-1]
        free.pop()
        ctypes.memset(self.ram.address + pa, 0 if zero else POISON, PAGE_SIZE)
        self.pfn.taken(pa)
        return pa

    def take_last(self, fill: int) -> int:
        """The frame given back last, which the host has in its caches, full of `fill` bytes."""
        if not self.free:
            raise OutOfFrames
        pa = self.free.pop()
        ctypes.memset(self.ram.address + pa, fill, PAGE_SIZE)
        self.pfn.taken(pa)
        return pa

    def take_between(self, pages: int, lowest: int, highest: int) -> list[int]:
        """Up to `pages` single frames within [lowest, highest], poisoned."""
        last = highest + 1 - PAGE_SIZE
        found = [pa for pa in self.free if lowest <= pa <= last][:pages]
        taken = set(found)
        self.free = [pa for pa in self.free if pa not in taken]
        for pa in found:
            ctypes.memset(self.ram.address + pa, POISON, PAGE_SIZE)
            self.pfn.taken(pa)
        while len(found) < pages and (one := self.take_run(1, lowest, highest)) is not None:
            found.append(one)
        return found

    def take_at(self, pa: int) -> int:
        """The zeroed frame at `pa` below the general pool (boot structures)."""
        self.low.remove(pa)
        self.pfn.taken(pa)
        ctypes.memset(self.ram.address + pa, 0, PAGE_SIZE)
        return pa

    def take_low(self, pages: int) -> int:
        """The first of so many consecutive frames below the general pool, where the loader puts
        the kernel's images."""
        low, size = self.low, pages * PAGE_SIZE
        for index in range(len(low) - pages + 1):
            if low[index + pages - 1] - low[index] == size - PAGE_SIZE:
                first = low[index]
                del low[index : index + pages]
                self.pfn.taken(first, pages)
                return first
        raise OutOfFrames

    def give(self, pa: int) -> None:
        """Return a single frame; one that an MDL holds locked is free once it is unlocked."""
        if pa in self.locks:
            self.awaiting_unlock.add(pa)
        else:
            self._put_back(pa)

    def _put_back(self, pa: int) -> None:
        if pa < self.split:
            self.free.append(pa)
            self.pfn.given(pa)
        else:
            self.give_run(pa, 1)

    def lock(self, pa: int) -> None:
        """A frame is locked once more."""
        self.locks[pa] = self.locks.get(pa, 0) + 1
        self.pfn.count(pa, 1)

    def unlock(self, pa: int) -> None:
        """Undo one `lock`."""
        left = self.locks.get(pa, 0) - 1
        self.pfn.count(pa, -1)
        if left > 0:
            self.locks[pa] = left
            return
        self.locks.pop(pa, None)
        if pa in self.awaiting_unlock:
            self.awaiting_unlock.remove(pa)
            self._put_back(pa)

    def take_run(self, pages: int, lowest: int, highest: int, boundary: int = 0) -> int | None:
        """`pages` consecutive frames within [lowest, highest], poisoned; None if none fit.

        `boundary` in bytes, if not 0, is a multiple that the run must not cross.
        """
        if boundary and pages * PAGE_SIZE > boundary:
            return None
        for index, (start, length) in enumerate(self.runs):
            first = max(start, -(-lowest // PAGE_SIZE) * PAGE_SIZE)
            size = pages * PAGE_SIZE
            if boundary and first // boundary != (first + size - 1) // boundary:
                first = -(-first // boundary) * boundary
            if first + size > start + length * PAGE_SIZE or first + size - 1 > highest:
                continue
            self._split(index, first, pages)
            ctypes.memset(self.ram.address + first, POISON, size)
            self.pfn.taken(first, pages)
            return first
        return self._run_of_singles(pages, lowest, highest, boundary)

    def _run_of_singles(self, pages: int, lowest: int, highest: int, boundary: int) -> int | None:
        """Consecutive frames of the general pool: for requests that reach no higher."""
        first, length = 0, 0
        for pa in sorted(pa for pa in self.free if lowest <= pa <= highest + 1 - PAGE_SIZE):
            goes_on = length and pa == first + length * PAGE_SIZE
            if not goes_on or (boundary and first // boundary != pa // boundary):
                first, length = pa, 0
            length += 1
            if length == pages:
                taken = set(range(first, first + pages * PAGE_SIZE, PAGE_SIZE))
                self.free = [each for each in self.free if each not in taken]
                ctypes.memset(self.ram.address + first, POISON, pages * PAGE_SIZE)
                self.pfn.taken(first, pages)
                return first
        return None

    def _split(self, index: int, first: int, pages: int) -> None:
        start, length = self.runs[index]
        before = (first - start) // PAGE_SIZE
        after = length - before - pages
        rest = [(start, before), (first + pages * PAGE_SIZE, after)]
        self.runs[index : index + 1] = [run for run in rest if run[1]]

    def give_run(self, pa: int, pages: int) -> None:
        """Return frames of `take_run`, merging neighbours."""
        self.pfn.given(pa, pages)
        if pa < self.split:
            self.free.extend(range(pa, pa + pages * PAGE_SIZE, PAGE_SIZE))
            return
        runs = self.runs
        index = bisect(runs, (pa, pages))
        if index < len(runs) and pa + pages * PAGE_SIZE == runs[index][0]:
            pages += runs.pop(index)[1]
        if index and runs[index - 1][0] + runs[index - 1][1] * PAGE_SIZE == pa:
            index -= 1
            pa, before = runs.pop(index)
            pages += before
        runs.insert(index, (pa, pages))
