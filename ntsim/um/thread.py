"""A thread's user-mode side: stack, TEB, and a page for what it hands to system calls."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from greenlet import getcurrent

from ntsim.abi import winnt_constants as w
from ntsim.hw.mmu import WRITE
from ntsim.hw.paging import PTE_FRAME, PTE_PRESENT
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.mm.frames import OutOfFrames
from ntsim.nt.mm.protection import entry_for
from ntsim.nt.mm.user_space import Range, UserSpace
from ntsim.um import layout

if TYPE_CHECKING:
    from ntsim.nt.ke.thread import Thread
    from ntsim.um.process import UserProcess

# The scratch page: an I/O status block, results, small structures, a small request's buffers.
STATUS_BLOCK, INFORMATION, RESULT, RESULT2, RESULT3 = 0x00, 0x08, 0x10, 0x18, 0x20
TIMEOUT, ATTRIBUTES, NAME, CLIENT_ID, STRUCTURE = 0x28, 0x40, 0x70, 0x80, 0x90
HANDLES, INPUT, OUTPUT = 0x200, 0x400, 0x800
SMALL_INPUT, SMALL_OUTPUT = OUTPUT - INPUT, PAGE_SIZE - OUTPUT

LAST_ERROR = 0x68
"""Offset of TEB.LastErrorValue."""

_READ_WRITE = 4
"""PAGE_READWRITE in a software page-table entry."""


class UserThread:
    """The user-mode side of `thread`. `scratch` is its page of argument structures.

    `work` is what it runs: no arguments, its result is the exit code. `ends_process`: it is the
    first thread, or an error was its end.
    """

    def __init__(self, process: UserProcess, slot: int, thread: Thread) -> None:
        self.process, self.thread, self.slot = process, thread, slot
        self.nt = process.nt
        self.mmu, self.root = self.nt.mmu, process.kernel.root
        ram = self.nt.mm.ram
        self.ram_address, self.ram, self.words = ram.address, ram.map, ram.u64
        self.work: Callable[[], int] = lambda: 0
        self.start_routine = self.argument = 0
        self.ends_process = False
        self.teb = layout.FIRST_TEB + slot * layout.TEB_SIZE
        self.stack_base = layout.FIRST_STACK_BASE + slot * layout.STACK_RESERVE
        self.scratch = 0
        self.page = 0
        thread.user, thread.user_rsp = self, self.stack_base - layout.STACK_IN_USE

    def map_memory(self) -> None:
        """Stack, TEB and scratch page of this slot, or those of the thread that had it before.

        OutOfFrames if there is no memory for them; nothing stays mapped then.
        """
        process = self.process
        space = process.kernel.user
        known = process.slot_memory.get(self.slot)
        if known is None:
            made: list[Range] = []
            try:
                known = self._map_new(space, made)
            except OutOfFrames:
                for part in made:
                    space.release(part)
                raise
            process.slot_memory[self.slot] = known
        self.scratch = known
        self.page = known >> 12
        self._write_teb(present_page(space, self.teb))

    def _map_new(self, space: UserSpace, made: list[Range]) -> int:
        """The scratch page, after stack and TEB; each range is put on `made` as it is reserved."""
        commit = partial(space.commit, size=PAGE_SIZE, protection=w.PAGE_READWRITE)
        stack = self._reserve(space, self.stack_base - layout.STACK_RESERVE, layout.STACK_RESERVE)
        made.append(stack)
        commit(self.stack_base - 2 * PAGE_SIZE)
        commit(self.stack_base - PAGE_SIZE)
        made.append(self._reserve(space, self.teb, layout.TEB_SIZE))
        map_page(space, self.teb)
        commit(self.teb + PAGE_SIZE)
        where = 0 if self.slot else layout.HEAP - 0x1_0000
        made.append(self._reserve(space, where, 2 * PAGE_SIZE))
        scratch = made[-1].base
        map_page(space, scratch)
        commit(scratch + PAGE_SIZE)
        return scratch

    def _reserve(self, space: UserSpace, base: int, size: int) -> Range:
        made = space.reserve(size, base)
        assert made is not None, f"slot {self.slot}: no room at {base:#x}"
        return made

    def _write_teb(self, pa: int) -> None:
        """The fields of the TEB that tools look at."""
        ram, thread = self.nt.mm.ram, self.thread
        limit = self.stack_base - 2 * PAGE_SIZE
        for offset, value in (
            (0x08, self.stack_base), (0x10, limit), (0x30, self.teb),
            (0x40, thread.process.pid), (0x48, thread.tid), (0x60, layout.PEB), (LAST_ERROR, 0),
        ):  # fmt: skip
            ram.write(pa + offset, value.to_bytes(8, "little"))
        thread.v.Teb = self.teb

    def start(self) -> None:
        """First user-mode code of the thread; the kernel calls it on the thread's own stack."""
        from ntsim.um import ntdll

        getcurrent().user = self
        ntdll.RtlUserThreadStart(self.start_routine, self.argument)

    @property
    def last_error(self) -> int:
        """TEB.LastErrorValue."""
        return int.from_bytes(self.mmu.read(self.teb + LAST_ERROR, 4), "little")

    @last_error.setter
    def last_error(self, code: int) -> None:
        self.mmu.write(self.teb + LAST_ERROR, code.to_bytes(4, "little"))

    def locate(self) -> int:
        """Offset of the scratch page in RAM, brought in if it was paged out."""
        space = self.mmu.user.get(self.root)
        host = space.write.get(self.page) if space is not None else None
        if host is None:
            host = self.mmu.host(self.scratch, WRITE)
        return host - self.ram_address

    def put(self, offset: int, data: bytes) -> int:
        """Store bytes in the scratch page; their user address."""
        at = self.locate() + offset
        self.ram[at : at + len(data)] = data
        return self.scratch + offset

    def number(self, offset: int, size: int = 8) -> int:
        """An integer from the scratch page."""
        at = self.locate() + offset
        return int.from_bytes(self.ram[at : at + size], "little")

    def put_numbers(self, offset: int, *values: int) -> int:
        """Store 64-bit integers; the address of the first."""
        return self.put(offset, struct.pack(f"<{len(values)}Q", *values))


def present_page(space: UserSpace, va: int) -> int:
    """The physical address of a page that may have been paged out: then it is a fresh one."""
    entry = space.mm.tables.read(space.root, va)
    if entry & PTE_PRESENT:
        return entry & PTE_FRAME
    space.mm.paging_file.pop(entry >> 32, None)
    return map_page(space, va)


def map_page(space: UserSpace, va: int) -> int:
    """Make a zeroed page present at once; its physical address."""
    pa = space.mm.frames.take()
    space.mm.mmu.write_entry(space.root, va, entry_for(pa, _READ_WRITE))
    return pa
