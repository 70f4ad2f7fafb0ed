"""Noticing that code which the engine has translated was written since, by others than its code.

The library sees what the code it runs stores, wherever that is mapped, and translates what it has
changed anew. What Python writes (routines of the kernel, Python drivers, devices) it does not see:
so the page frames that code was met in, and that somebody may write, are compared with what they
held before code runs again.
"""

from __future__ import annotations

from ntsim.hw.engine.blocks import Blocks
from ntsim.hw.engine.view import View
from ntsim.hw.ram import PAGE_SIZE, Ram

_KEPT = 256
_WHOLE = (0, PAGE_SIZE)


class SeenCode:
    """The page frames to look after, by physical address, with what they held when last looked at.

    Data beside code may change: only the blocks of code that were met count, or the whole page.
    """

    def __init__(self, ram: Ram, blocks: Blocks) -> None:
        self._ram, self._blocks = ram, blocks
        self.frames: dict[int, bytes] = {}
        self._places: dict[int, set[tuple[int, int]]] = {}
        self._forgot = False

    def saw(self, frame: int | None) -> None:
        """Code was seen in the page frame at `frame`; None: nothing is there."""
        if frame is not None and frame not in self.frames:
            self._watch(frame, *_WHOLE)

    def block(self, view: View, place: int, size: int) -> None:
        """A block of code has been translated, `size` bytes at linear address `place`."""
        end = place + size
        while place < end:
            offset = place & PAGE_SIZE - 1
            stop = min(PAGE_SIZE, offset + end - place)
            frame = view.frame(place >> 12)
            if frame is not None:
                self._watch(frame, offset, stop)
            place += stop - offset

    def _watch(self, frame: int, start: int, stop: int) -> None:
        held = self.frames.get(frame)
        now = self._ram.map[frame : frame + PAGE_SIZE]
        if held is not None:
            now = held[:start] + now[start:stop] + held[stop:]
        elif len(self.frames) >= _KEPT:
            self.forget()
        self.frames[frame] = now
        self._places.setdefault(frame, set()).add((start, stop))

    def forget(self) -> None:
        """Begin anew: all code is unknown again, and translated again."""
        self.frames.clear()
        self._places.clear()
        self._blocks.forget()
        self._forgot = True

    def changed(self) -> bool:
        """Whether code differs, or some was forgotten; afterwards what is there is known."""
        found, self._forgot = self._forgot, False
        memory = self._ram.map
        for frame, held in self.frames.items():
            now = memory[frame : frame + PAGE_SIZE]
            if now != held:
                self.frames[frame] = now
                places = self._places[frame]
                found = found or any(now[a:b] != held[a:b] for a, b in places)
        return found
