"""Stacks of compiled code: the frames of an activation for reports, where it is for events."""

from __future__ import annotations

from pathlib import PureWindowsPath
from typing import TYPE_CHECKING

from ntsim.host.abi_x64 import RFLAGS, RIP, RSP, Activation
from ntsim.host.context import context_bytes
from ntsim.host.handler_call import Place
from ntsim.hw.cpu import RFLAGS_IF
from ntsim.nt.ki.frames import StackFrame

if TYPE_CHECKING:
    from ntsim.host.native import NativeCode

_FRAME_OF_LEAF = 8


class NativeStacks:
    """What the compiled code of one machine is doing, for people to read."""

    def __init__(self, code: NativeCode) -> None:
        self.code, self.nt = code, code.nt
        self._places: dict[int, str] = {}

    def forget(self) -> None:
        """A driver is gone: what is at its addresses now has another name."""
        self._places.clear()

    def frames(self, activation: Activation) -> list[StackFrame]:
        """The compiled frames of an activation, innermost first."""
        places = self.code.dispatcher.places(activation)
        made = [self._frame(place) for place in places]
        if made:
            words = list(places[0].registers)
            words[RFLAGS] = words[RFLAGS] & ~RFLAGS_IF | self.nt.il.current.rflags & RFLAGS_IF
            made[0].registers = bytes(context_bytes(words, places[0].rip))
        return made

    def _frame(self, place: Place) -> StackFrame:
        rip, stack = place.rip, place.registers[RSP]
        size = max(_FRAME_OF_LEAF, place.frame.registers[RSP] - stack)
        known = self.nt.images.at(rip)
        image = known or self.nt.nt_image
        symbol = image.find(rip) if known else None
        name = symbol.name if symbol is not None else f"{image.module_name}"
        offset = rip - (symbol.address if symbol is not None else image.base)
        if known is None:  # a jump to nowhere
            name, offset = f"{rip:#x}", 0
        made = StackFrame(image, name, rip, offset, "", 0, (0, 0, 0, 0), False, size)
        made.child_sp, made.compiled = stack, True
        self._add_source(made, place)
        if place.frame.rip != self.code.exports.return_address:  # above is the kernel's Python
            made.return_address = place.frame.rip
        return made

    def _add_source(self, frame: StackFrame, place: Place) -> None:
        """The frame's source line; a return address belongs to the call before it."""
        native = place.frame.native
        if native is None:
            return
        found = native.debug.at(place.offset - (not place.innermost))
        if found is not None and found.file:
            frame.file, frame.line = found.file, found.line
            self.code.host.files.setdefault(found.file, PureWindowsPath(found.file).name)

    def place_of(self, activation: Activation) -> str:
        """`echo!sub_10d0+0x3c`: where an activation is, for events."""
        words = activation.words
        address = words[RIP]
        if activation.in_export:
            below = words[RSP]
            readable = self.nt.mmu.probe(below) is not None
            address = self.nt.mmu.read_word(below) if readable else words[RIP]
        found = self._places.get(address)
        if found is None:
            found = self._places[address] = self.nt.describe_address(address)
        return found
