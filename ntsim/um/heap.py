"""A process's heap: blocks for what the Win32 layer hands to system calls.

Small blocks are carved from segments and kept on free lists by size; a large one has pages of its
own, fresh each time. Addresses depend on the order of calls alone.
"""

from __future__ import annotations

from ntsim.abi import winnt_constants as w
from ntsim.nt.mm.user_space import Range, UserSpace
from ntsim.um import layout

GRAIN = 0x40
LARGEST_SMALL = 0x4000
SEGMENT = 0x10_0000
COMMIT_STEP = 0x1_0000


class OutOfUserMemory(MemoryError):
    """The process's address space is used up."""

    ntsim_caller_error = True


class Heap:
    """Blocks of one process. Addresses are user addresses, sizes bytes."""

    def __init__(self, space: UserSpace) -> None:
        self.space = space
        self.free_blocks: dict[int, list[int]] = {}
        self.sizes: dict[int, int] = {}
        self.large: dict[int, Range] = {}
        first = space.reserve(SEGMENT, layout.HEAP)
        assert first is not None, f"{layout.HEAP:#x} is taken"
        self.next = self.committed = first.base
        self.end = first.base + first.size

    def allocate(self, size: int) -> int:
        """A zeroed or used block of at least `size` bytes."""
        if size > LARGEST_SMALL:
            return self._allocate_large(size)
        size = -(-max(size, 1) // GRAIN) * GRAIN
        free = self.free_blocks.get(size)
        address = free.pop() if free else self._carve(size)
        self.sizes[address] = size
        return address

    def is_fresh(self, address: int) -> bool:
        """Whether the block's bytes are still zero because it has pages of its own."""
        return address in self.large

    def free(self, address: int) -> None:
        """Return a block."""
        found = self.large.pop(address, None)
        if found is not None:
            self.space.release(found)
        else:
            self.free_blocks.setdefault(self.sizes.pop(address), []).append(address)

    def _allocate_large(self, size: int) -> int:
        made = self.space.reserve(size)
        if made is None:
            raise OutOfUserMemory(f"no room for {size:#x} bytes in the process")
        self.space.commit(made.base, made.size, w.PAGE_READWRITE)
        self.large[made.base] = made
        return made.base

    def _carve(self, size: int) -> int:
        if self.next + size > self.end:
            made = self.space.reserve(SEGMENT)
            if made is None:
                raise OutOfUserMemory("no room for another heap segment in the process")
            self.next = self.committed = made.base
            self.end = made.base + made.size
        address = self.next
        self.next += size
        while self.committed < self.next:
            self.space.commit(self.committed, COMMIT_STEP, w.PAGE_READWRITE)
            self.committed += COMMIT_STEP
        return address
