"""What the code of a world sees in memory: for finding out what the instruction at an exit is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.hw.engine.decode import Instruction, decode
from ntsim.hw.engine.layout import CODE_32, CODE_64, SEGMENTS
from ntsim.hw.engine.registers import CS, RSP
from ntsim.hw.engine.walk import Page, Walk
from ntsim.hw.ram import PAGE_SIZE, Ram

if TYPE_CHECKING:
    from ntsim.hw.engine.native import Native, Slot

_KEPT_PAGES = 4096
RFLAGS_TF = 1 << 8
_DECODED_MAXIMUM = 4096
_LONGEST = 15
"""Bytes of an instruction."""
_UNKNOWN = Instruction("")
_decoded: dict[tuple[bytes, int], Instruction | None] = {}
"""Decoding depends on the bytes and the mode alone: shared by all worlds."""


class View:
    """The memory of one world, translated as its processor would, without checking rights.

    `tables` holds two numbers, which change whenever page tables, and nested ones, may have.
    """

    __slots__ = (
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
        self._pages: dict[int, Page] = {}

    def translation_changed(self, translation: tuple[Any, ...]) -> None:
        self._walk = Walk(self._ram, *translation)
        self._pages.clear()
        self._mode_selector = -1

    def physical(self, linear: int) -> int | None:
        """Physical address of `linear` in the machine, None if nothing is mapped there."""
        frame = self.frame(linear >> 12)
        return None if frame is None else frame | linear & 0xFFF

    def frame(self, number: int) -> int | None:
        """Physical address of linear page `number`, None if nothing is mapped there."""
        page, (age, nested_age) = self._pages.get(number), self._tables
        if page is None or page.age != age:
            if page is None or not page.stands(page.nested_age != nested_age):
                page = self._look_up(number, age)
            page.age, page.nested_age = age, nested_age
        return page.frame

    def _look_up(self, number: int, age: int) -> Page:
        """Walk the tables for page `number`, and keep what they say."""
        if len(self._pages) == _KEPT_PAGES:
            self._pages = {n: page for n, page in self._pages.items() if page.age == age}
        page = self._pages[number] = self._walk.page(number << 12)
        return page

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
        mode = self._mode if selector == self._mode_selector else self.mode(selector)
        return rip if mode == 64 else self.linear("cs", rip)

    def code(self, rip: int, selector: int) -> bytes:
        """The 15 bytes from `rip` on in the code segment `selector`, fewer if the mapping ends."""
        linear = self.code_address(rip, selector)
        offset = linear & 0xFFF
        if offset > PAGE_SIZE - _LONGEST:
            return self.read(linear, _LONGEST)
        frame = self.frame(linear >> 12)
        return b"" if frame is None else self._ram.map[frame + offset : frame + offset + _LONGEST]

    def decode(self, rip: int, selector: int) -> Instruction | None:
        """The system instruction at `rip`, None if it is none."""
        mode = self._mode if selector == self._mode_selector else self.mode(selector)
        offset = rip & 0xFFF
        if mode == 64 and offset <= PAGE_SIZE - _LONGEST:
            frame = self.frame(rip >> 12)
            code = b"" if frame is None else self._ram.map[frame | offset : (frame | offset) + 15]
        else:
            code = self.code(rip, selector)
        key = code, mode
        found = _decoded.get(key, _UNKNOWN)
        if found is _UNKNOWN:
            if len(_decoded) == _DECODED_MAXIMUM:
                _decoded.clear()
            found = _decoded[key] = decode(*key)
        return found

    def hide_trap_flag(self, rip: int, words: Any) -> None:
        """If the instruction at `rip`, which has executed with RFLAGS.TF of ours, was PUSHF, take
        the flag out of what it pushed."""
        instruction = self.decode(rip, words[CS])
        if instruction is not None and instruction.mnemonic == "pushf":
            place = self.physical(self.linear("ss", words[RSP]) + 1)
            if place is not None:
                self._ram.map[place] &= ~(RFLAGS_TF >> 8)

    def disassemble(self, rip: int, selector: int) -> str:
        """The instruction at `rip` as text; "?" if it cannot be read or is none."""
        import capstone

        code = self.code(rip, selector)
        modes = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
        disassembler = capstone.Cs(capstone.CS_ARCH_X86, modes[self._mode])
        for *_, mnemonic, operands in disassembler.disasm_lite(code, rip, 1):
            return f"{mnemonic} {operands}".rstrip()
        return "?"
