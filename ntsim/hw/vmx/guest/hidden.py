"""What a guest changes inside the engine without stopping it: segments, tables, SWAPGS.

Reading all of it costs as much as several exits, so its bytes are compared with those of the last
time first: nearly always they are the same.
"""

from __future__ import annotations

import ctypes

from ntsim.hw.engine import World
from ntsim.hw.engine.layout import INHIBIT_INTERRUPTS, ProcessorFields


class HiddenState:
    """The bytes of one world's segment registers and descriptor tables."""

    def __init__(self, world: World) -> None:
        self._native, self._slot = world.native, world.slot
        saved = world.slot.processor
        self._kernel_gs_base, self._fields = saved.kernel_gs_base, saved.fields
        first, end = ProcessorFields.segments.offset, ProcessorFields.cr.offset
        address = ctypes.addressof(saved.fields) + first
        self._bytes = (ctypes.c_char * (end - first)).from_address(address)
        self._seen: tuple[bytes, int] = (b"", 0)

    def _now(self) -> tuple[bytes, int]:
        self._native.processor(self._slot)  # brings the saved copy up to date
        return self._bytes.raw, self._kernel_gs_base.value

    def remember(self) -> None:
        """What is there now is known."""
        self._seen = self._now()

    def changed(self) -> bool:
        """Whether anything is different from what was remembered."""
        return self._now() != self._seen

    def interrupt_shadow(self) -> bool:
        """Interrupts are held off for one instruction."""
        self._native.processor(self._slot)
        return bool(self._fields.hflags & INHIBIT_INTERRUPTS)
