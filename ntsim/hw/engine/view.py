"""What the code of a world sees in memory: for finding out what the instruction at an exit is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.hw.engine.decode import Instruction, decode
from ntsim.hw.engine.layout import CODE_32, CODE_64, SEGMENTS
from ntsim.hw.engine.walk import Walk
from ntsim.hw.ram import PAGE_SIZE, Ram

if TYPE_CHECKING:
    from ntsim.hw.engine.native import Native, Slot

_DECODED_MAXIMUM = 4096
_decoded: dict[tuple[bytes, int], Instruction | None] = {}
"""Decoding depends on the bytes and the mode alone: shared by all worlds."""


class View:
    """The memory of one world, translated as its processor would, without checking rights.

    `tables` holds one number, which changes whenever page tables have.
    """

    __slots__ = (
        "_age",
        "_mode",
        "_mode_selector",
        "_native",
        "_pages",
        "_ram",
        "_slot",
        "_tables",
        "_walk",
    )

    def __init__(self, native: Native, slot: Slot, ram: Ram, tables: list[int]) -> None:
        self._native, self._slot, self._ram = native, slot, ram
        self._tables = tables
        self._age = tables[0]
        self._pages: dict[int, int | None] = {}

    def translation_changed(self, translation: tuple[Any, ...]) -> None:
        self._walk = Walk(self._ram, *translation)
        self._pages.clear()
        self._mode_selector = -1

    def physical(self, linear: int) -> int | None:
        """Physical address of `linear` in the machine, None if nothing is mapped there."""
        if self._age != self._tables[0]:
            self._age = self._tables[0]
            self._pages.clear()
        page = linear >> 12
        if page in self._pages:
            found = self._pages[page]
        else:
            found = self._pages[page] = self._walk.physical(page << 12)
        return None if found is None else found | linear & 0xFFF

    def read(self, linear: int, size: int) -> bytes:
        """The bytes at `linear`; fewer than `size` where the mapping ends."""
        parts = []
        while size > 0:
            here = min(size, PAGE_SIZE - (linear & 0xFFF))
            place = self.physical(linear)
            if place is None:
                break
            parts.append(self._ram.map[place : place + here])
            linear, size = linear + here, size - here
        return b"".join(parts)

    def linear(self, segment: str, offset: int) -> int:
        """Linear address of `offset` in `segment` ("ds", ...)."""
        fields = self._native.processor(self._slot).fields
        base = int(fields.segments[SEGMENTS.index(segment)].base)
        if not fields.hflags & CODE_64:
            return base + offset & 0xFFFF_FFFF
        if segment not in ("fs", "gs"):
            base = 0
        return base + offset & 0xFFFF_FFFF_FFFF_FFFF

    def mode(self, selector: int) -> int:
        """16, 32 or 64: size of the code in the code segment `selector`, which is loaded.

        Kept until another selector shows: asking the processor costs 0.6 us.
        """
        if selector != self._mode_selector:
            flags = self._native.processor(self._slot).fields.hflags
            self._mode = 64 if flags & CODE_64 else 32 if flags & CODE_32 else 16
            self._mode_selector = selector
        return self._mode

    def code_address(self, rip: int, selector: int) -> int:
        """Linear address of `rip` in the code segment `selector`."""
        return rip if self.mode(selector) == 64 else self.linear("cs", rip)

    def code(self, rip: int, selector: int) -> bytes:
        """The 15 bytes from `rip` on in the code segment `selector`, fewer if the mapping ends."""
        return self.read(self.code_address(rip, selector), 15)

    def decode(self, rip: int, selector: int) -> Instruction | None:
        """The system instruction at `rip`, None if it is none."""
        key = self.code(rip, selector), self._mode
        try:
            return _decoded[key]
        except KeyError:
            if len(_decoded) == _DECODED_MAXIMUM:
                _decoded.clear()
            found = _decoded[key] = decode(*key)
            return found

    def disassemble(self, rip: int, selector: int) -> str:
        """The instruction at `rip` as text; "?" if it cannot be read or is none."""
        import capstone

        code = self.code(rip, selector)
        modes = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
        disassembler = capstone.Cs(capstone.CS_ARCH_X86, modes[self._mode])
        for *_, mnemonic, operands in disassembler.disasm_lite(code, rip, 1):
            return f"{mnemonic} {operands}".rstrip()
        return "?"
