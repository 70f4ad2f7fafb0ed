"""Noticing that code which a guest has executed was written by the host since."""

from __future__ import annotations

from ntsim.hw.ram import Ram

_PAGE = 0x1000
_KEPT = 64


class SeenCode:
    """The page frames in which guests of one engine were seen, with what they held then."""

    def __init__(self, ram: Ram) -> None:
        self._ram = ram
        self._frames: dict[int, bytes] = {}
        self._forgot = True

    def saw(self, frame: int | None) -> None:
        """A guest stopped in the page frame at `frame`; None: nothing is there."""
        if frame is None or frame in self._frames:
            return
        if len(self._frames) == _KEPT:
            self._frames.clear()
            self._forgot = True
        self._frames[frame] = self._ram.read(frame, _PAGE)

    def changed(self) -> bool:
        """Whether a page differs, or some were forgotten; afterwards what is there is known."""
        found, self._forgot = self._forgot, False
        memory = self._ram.map
        for frame, held in self._frames.items():
            if memory[frame : frame + _PAGE] != held:
                self._frames[frame] = memory[frame : frame + _PAGE]
                found = True
        return found
