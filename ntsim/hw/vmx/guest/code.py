"""Noticing that code which a guest has executed was written by the host since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.hw.vmx.protocols import Memory
from ntsim.hw.vmx.vmcs import peek

if TYPE_CHECKING:
    from ntsim.hw.engine import World

_PAGE = 0x1000
_KEPT = 64


class SeenCode:
    """The page frames in which guests of one engine were seen, with what they held then."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._frames: dict[int, bytes] = {}
        self._forgot = True

    def saw(self, world: World, rip: int, selector: int) -> None:
        """The guest stopped at `rip` of the code segment `selector`."""
        linear = world.view.code_address(rip, selector)
        physical = world.view.physical(linear)
        if physical is None or physical & -_PAGE in self._frames:
            return
        if len(self._frames) == _KEPT:
            self._frames.clear()
            self._forgot = True
        self._frames[physical & -_PAGE] = peek(self._memory, physical & -_PAGE, _PAGE)

    def changed(self) -> bool:
        """Whether a page differs, or some were forgotten; afterwards what is there is known."""
        found, self._forgot = self._forgot, False
        for frame, held in self._frames.items():
            now = peek(self._memory, frame, _PAGE)
            if now != held:
                self._frames[frame] = now
                found = True
        return found
