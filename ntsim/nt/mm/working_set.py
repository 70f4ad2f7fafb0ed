"""Working sets: pageable memory that the memory manager writes out, by its own choice or when told.

The balance set manager looks once a second of virtual time while the machine waits. A process whose
threads have all waited in user mode for 15 seconds (KiStackProtectTime of a large machine) loses
about half of its private pages, and if nothing runs for so long, so does paged pool; which ones,
the machine's seed decides. Pages that an MDL has locked stay. They come back at the next access,
which cannot be served at DISPATCH_LEVEL or above. Source: Windows Internals 7, ch. 5, "Working
sets", "Balance set manager and swapper"; WDK "Accessing User-Space Memory".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.hw.clock import TICK_100NS
from ntsim.hw.prng import Random
from ntsim.nt.events import PagesTrimmed
from ntsim.nt.ke.thread import WAITING
from ntsim.nt.mm.resolve import mi_page_out
from ntsim.nt.mm.user_space import PRIVATE, UserSpace

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.ps.process import Process

LONG_WAIT_100NS = 15 * 10_000_000
USER_MODE = 1


class WorkingSets:
    """The balance set manager of one machine."""

    def __init__(self, nt: Kernel, seed: int) -> None:
        self.nt = nt
        self.random = Random(seed, "working sets")

    def balance(self, due: int) -> None:
        """Nothing runs until `due`, in 100 ns units of interrupt time."""
        nt = self.nt
        for process in nt.ps.processes:
            if process is not nt.ps.system and self._waits_long(process, due):
                self._trim_some(process)
        if due - nt.clock.now >= LONG_WAIT_100NS:
            self._trim_paged_pool()

    @staticmethod
    def _waits_long(process: Process, due: int) -> bool:
        ticks = (due - LONG_WAIT_100NS) // TICK_100NS
        return bool(process.threads) and all(
            thread.v.State == WAITING
            and thread.v.WaitMode == USER_MODE
            and thread.v.WaitTime <= ticks
            for thread in process.threads
        )

    def _trim_some(self, process: Process) -> None:
        pages = (page for page in mi_working_set(process.user) if self.random.next() & 1)
        self._note(sum(mi_page_out(self.nt, page, process.root) for page in pages), process.name)

    def _trim_paged_pool(self) -> None:
        mm = self.nt.mm
        present = mm.tables.present(mm.system_root, mm.paged.base, mm.paged.next)
        pages = [va for va, _ in present if self.random.next() & 1]
        self._note(sum(mi_page_out(self.nt, page) for page in pages), "paged pool")

    def _note(self, pages: int, whose: str) -> None:
        if pages:
            self.nt.emit(PagesTrimmed, pages, whose)


def mi_working_set(space: UserSpace) -> list[int]:
    """The private pages of a process that are in memory."""
    tables = space.mm.tables
    return [
        va
        for found in space.ranges
        if found.kind == PRIVATE
        for va, _ in tables.present(space.root, found.base, found.end)
    ]


def mi_empty_working_set(nt: Kernel, process: Process) -> None:
    """Write out every private page of a process that is not locked."""
    pages = mi_working_set(process.user)
    gone = sum(mi_page_out(nt, page, process.root) for page in pages)
    nt.emit_at(PagesTrimmed, gone, process.name)
