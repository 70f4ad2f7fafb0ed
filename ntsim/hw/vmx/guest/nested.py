"""Guest-physical memory of a guest with EPT: the engine's nested tables, filled as EPT allows.

The nested tables have AMD's format and lie in page frames that the machine sets aside. They start
empty; each nested fault walks the EPT structures and maps one page with the rights found there, or
is an EPT violation or misconfiguration. They play the part of the processor's cached mappings: they
are emptied by INVEPT and when another EPT pointer comes into use.

The engine writes to a guest's paging structures while it walks them, so nested tables that make one
read-only fault where silicon would only read it. It cannot walk structures in a page that nested
tables make non-executable at all (unicorn 2.1.4, `get_hphys` in target/i386/excp_helper.c: it
stores through a null pointer). So no page is: where code may be fetched from is asked of EPT for
each new block of it (`nested_faults.py`), and `not_for_fetches` says whether there are
pages it may not.
"""

from __future__ import annotations

from collections.abc import Callable

from ntsim.hw.vmx.guest.ept import FETCH, WRITE, EptPage
from ntsim.hw.vmx.protocols import Memory

_PRESENT, _WRITABLE, _USER, _LARGE = 1 << 0, 1 << 1, 1 << 2, 1 << 7
_FRAME = 0x000F_FFFF_FFFF_F000
_TABLE_RIGHTS = _PRESENT | _WRITABLE | _USER
_SHIFTS = (39, 30, 21, 12)
_EMPTY = bytes(0x1000)


class NestedTables:
    """One set of nested tables; `new_frame` gives the physical address of a frame to use."""

    def __init__(self, memory: Memory, new_frame: Callable[[], int]) -> None:
        self._memory, self._new_frame = memory, new_frame
        self._frames: list[int] = []
        self._used = 0
        self.not_for_fetches = False
        self.root = self._take()

    def _take(self) -> int:
        """An empty frame, used before if there is one."""
        if self._used == len(self._frames):
            self._frames.append(self._new_frame())
        frame = self._frames[self._used]
        self._memory.write(frame, _EMPTY)
        self._used += 1
        return frame

    def clear(self) -> None:
        """Forget every mapping; the root stays where it is."""
        self._used = 0
        self.not_for_fetches = False
        self.root = self._take()

    def map(self, address: int, page: EptPage, *, writable: bool) -> None:
        """Map the page of `page` that holds guest-physical `address`: 4 KBytes, or 2 MBytes.

        `writable` comes on top of what `page` allows.
        """
        last = 21 if page.size >= 1 << 21 else 12
        table = self.root
        for shift in _SHIFTS:
            place = table + (address >> shift & 0x1FF) * 8
            if shift == last:
                break
            entry = int.from_bytes(self._memory.read(place, 8), "little")
            if not entry & _PRESENT:
                entry = self._take() | _TABLE_RIGHTS
                self._memory.write(place, entry.to_bytes(8, "little"))
            table = entry & _FRAME
        frame = (page.frame | address & page.size - 1) & -1 << last
        entry = frame | _PRESENT | _USER | (_LARGE if last == 21 else 0)
        entry |= _WRITABLE if writable and page.rights & WRITE else 0
        if not page.rights & FETCH:
            self.not_for_fetches = True
        self._memory.write(place, entry.to_bytes(8, "little"))

    def unmap(self, address: int) -> None:
        """Forget the 4 KBytes or 2 MBytes that guest-physical `address` was mapped with."""
        table = self.root
        for shift in _SHIFTS:
            place = table + (address >> shift & 0x1FF) * 8
            entry = int.from_bytes(self._memory.read(place, 8), "little")
            if shift == 12 or not entry & _PRESENT or entry & _LARGE:
                break
            table = entry & _FRAME
        self._memory.write(place, bytes(8))
