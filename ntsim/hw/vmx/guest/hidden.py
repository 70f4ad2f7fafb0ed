"""What a guest changes inside the engine without stopping it: segments, tables, SWAPGS.

Reading all of it costs as much as several exits, so its bytes are compared with those of the last
time first: nearly always they are the same.
"""

from __future__ import annotations

import ctypes

from ntsim.hw.engine import World
from ntsim.hw.engine.layout import INHIBIT_INTERRUPTS, ProcessorFields


class HiddenState:
    """The bytes of one world's segment registers and descriptor tables.

    The world's registers are resident: between runs its saved processor is up to date.
    """

    def __init__(self, world: World) -> None:
        saved = world.slot.processor
        self._kernel_gs_base, self._fields = saved.kernel_gs_base, saved.fields
        first, end = ProcessorFields.segments.offset, ProcessorFields.cr.offset
        address = ctypes.addressof(saved.fields) + first
        self._bytes = (ctypes.c_char * (end - first)).from_address(address)
        self._seen, self._seen_base = b"", 0
        before = ProcessorFields.hflags.offset
        address = ctypes.addressof(saved.fields) + before
        self._all = (ctypes.c_char * (end - before)).from_address(address)
        self._all_seen = b""

    def remember(self) -> None:
        """What is there now is known."""
        self._seen, self._seen_base = self._bytes.raw, self._kernel_gs_base.value
        self._all_seen = b"" if self.interrupt_shadow else self._all.raw

    def untouched(self) -> bool:
        """Not `changed`, and no `interrupt_shadow`, if there was none; may say no if in doubt."""
        return self._all.raw == self._all_seen and self._kernel_gs_base.value == self._seen_base

    def changed(self) -> bool:
        """Whether anything is different from what was remembered."""
        return self._bytes.raw != self._seen or self._kernel_gs_base.value != self._seen_base

    @property
    def interrupt_shadow(self) -> bool:
        """Interrupts are held off for one instruction."""
        return bool(self._fields.hflags & INHIBIT_INTERRUPTS)

    @interrupt_shadow.setter
    def interrupt_shadow(self, on: bool) -> None:
        kept = self._fields.hflags & ~INHIBIT_INTERRUPTS
        self._fields.hflags = kept | INHIBIT_INTERRUPTS if on else kept
