"""How long instructions are: for counting those of a block of code.

Only lengths and a few kinds that matter to the engine; what an instruction does is not looked at.
Source: SDM 2, appendix "Opcode Map" (which opcodes have ModRM and immediates) and chapter
"Instruction Format".
"""

from __future__ import annotations

from enum import IntFlag


class Kind(IntFlag):
    """What a block contains that the engine has to know before it runs."""

    IO = 1
    """IN, OUT, INS, OUTS: the library cannot be stopped in the middle of a block."""
    VEX = 2
    """VEX, EVEX or XOP prefix."""
    PUSHF = 4
    FAR = 8
    """JMP and CALL to a far pointer, IRET: they may switch tasks."""


def _set(*ranges: tuple[int, int] | int) -> frozenset[int]:
    found: set[int] = set()
    for each in ranges:
        first, last = each if isinstance(each, tuple) else (each, each)
        found.update(range(first, last + 1))
    return frozenset(found)


_ARITHMETIC = range(0, 0x40, 8)
_MODRM = _set(0x62, 0x63, 0x69, 0x6B, (0x80, 0x8F), 0xC0, 0xC1, 0xC4, 0xC5, 0xC6, 0xC7) | _set(
    *((base, base + 3) for base in _ARITHMETIC), (0xD0, 0xD3), (0xD8, 0xDF), 0xF6, 0xF7, 0xFE, 0xFF
)
_BYTE = _set(
    *(base + 4 for base in _ARITHMETIC), 0x6A, 0x6B, (0x70, 0x7F), 0x80, 0x82, 0x83
) | _set(0xA8, (0xB0, 0xB7), 0xC0, 0xC1, 0xC6, 0xCD, 0xD4, 0xD5, (0xE0, 0xE7), 0xEB)
_WORD_OR_LONG = _set(*(base + 5 for base in _ARITHMETIC), 0x68, 0x69, 0x81, 0xA9, 0xC7, 0xE8, 0xE9)
_IO = _set((0x6C, 0x6F), (0xE4, 0xE7), (0xEC, 0xEF))
_FAR, _FAR_MODRM = _set(0x9A, 0xCF, 0xEA), (3, 5)
_NO_MODRM_0F = _set(
    0x04, (0x05, 0x0C), 0x0E, (0x30, 0x37), 0x77, (0x80, 0x8F), (0xA0, 0xA2)
) | _set((0xA8, 0xAA), (0xC8, 0xCF))
_BYTE_0F = _set(0x0F, (0x70, 0x73), 0xA4, 0xAC, 0xBA, 0xC2, (0xC4, 0xC6))
_PREFIXES = _set(0x26, 0x2E, 0x36, 0x3E, (0x64, 0x67), 0xF0, 0xF2, 0xF3)
_SEGMENT_64, _GROUP_3 = 0x40, (0xF6, 0xF7)


class _Code:
    """Bytes being read, and the prefixes of the instruction that is."""

    __slots__ = ("address_prefix", "at", "data", "mode", "operand_prefix", "wide")

    def __init__(self, data: bytes, mode: int) -> None:
        self.data, self.mode, self.at = data, mode, 0

    def next(self) -> int:
        byte = self.data[self.at]
        self.at += 1
        return byte

    def opcode(self) -> int:
        self.operand_prefix = self.address_prefix = self.wide = False
        while True:
            byte = self.next()
            if byte in _PREFIXES:
                self.operand_prefix |= byte == 0x66
                self.address_prefix |= byte == 0x67
                self.wide = False
            elif self.mode == 64 and byte & 0xF0 == _SEGMENT_64:
                self.wide = bool(byte & 8)
            else:
                return byte

    @property
    def operand(self) -> int:
        """Bytes of an immediate of operand size: no more than four."""
        if self.wide:
            return 4
        return 2 if (self.mode == 16) != self.operand_prefix else 4

    @property
    def address(self) -> int:
        if self.mode == 64:
            return 4 if self.address_prefix else 8
        return 2 if (self.mode == 16) != self.address_prefix else 4

    def modrm(self) -> int:
        """Skip ModRM, SIB and displacement; ModRM."""
        modrm = self.next()
        mod, rm = modrm >> 6, modrm & 7
        if mod == 3:
            return modrm
        if self.address == 2:
            self.at += mod if mod else 2 * (rm == 6)
            return modrm
        if rm == 4:
            rm = self.next() & 7
        self.at += 1 if mod == 1 else 4 if mod == 2 or rm == 5 else 0
        return modrm


def instructions(code: bytes, mode: int) -> tuple[list[int], Kind] | None:
    """Where the instructions of `code` begin, which they fill exactly in `mode` 16, 32 or 64.

    None if they do not: then something in it is no instruction, or one not known here.
    """
    reader, starts, kind = _Code(code, mode), [], Kind(0)
    try:
        while reader.at < len(code):
            starts.append(reader.at)
            kind |= _skip(reader)
    except IndexError:
        return None
    return (starts, kind) if reader.at == len(code) else None


def vex_places(code: bytes) -> list[int]:
    """Where instructions with a VEX, EVEX or XOP prefix begin in 64-bit code, decoded from its
    first byte on. Data among it is taken for instructions."""
    reader, found = _Code(code, 64), []
    while reader.at < len(code):
        start = reader.at
        try:
            if _skip(reader) & Kind.VEX:
                found.append(start)
        except IndexError:
            reader.at = start + 1
    return found


def is_far(code: bytes, mode: int) -> bool:
    """Whether the instruction that `code` begins with is of `Kind.FAR`."""
    reader = _Code(code, mode)
    try:
        opcode = reader.opcode()
        return opcode in _FAR or (opcode == 0xFF and reader.next() >> 3 & 7 in _FAR_MODRM)
    except IndexError:
        return False


def is_vex(code: bytes, mode: int) -> bool:
    """Whether the instruction that `code` begins with has a VEX, EVEX or XOP prefix."""
    reader = _Code(code, mode)
    try:
        return _has_vex(reader, reader.opcode())
    except IndexError:
        return False


def _has_vex(reader: _Code, opcode: int) -> bool:
    if opcode in (0x62, 0xC4, 0xC5):
        return reader.mode == 64 or reader.data[reader.at] & 0xC0 == 0xC0
    return opcode == 0x8F and reader.data[reader.at] & 0x1F >= 8


def _skip(reader: _Code) -> Kind:
    opcode = reader.opcode()
    if opcode == 0x0F:
        return _two_byte(reader, reader.next(), wide_map=0)
    if _has_vex(reader, opcode):
        return _vex(reader, 0xC4 if opcode == 0x8F else opcode)
    modrm = reader.modrm() if opcode in _MODRM else 0
    if opcode in _BYTE:
        reader.at += 1
    elif opcode in _WORD_OR_LONG:
        reader.at += reader.operand
    elif opcode & 0xF8 == 0xB8:
        reader.at += 8 if reader.wide else reader.operand
    elif opcode in _GROUP_3 and modrm >> 3 & 7 < 2:
        reader.at += 1 if opcode == 0xF6 else reader.operand
    elif opcode & 0xFC == 0xA0:
        reader.at += reader.address
    elif opcode in (0xC2, 0xCA):
        reader.at += 2
    elif opcode == 0xC8:
        reader.at += 3
    elif opcode in (0x9A, 0xEA):
        reader.at += reader.operand + 2
    if opcode in _FAR or (opcode == 0xFF and modrm >> 3 & 7 in _FAR_MODRM):
        return Kind.FAR
    return Kind.IO if opcode in _IO else Kind.PUSHF if opcode == 0x9C else Kind(0)


def _two_byte(reader: _Code, opcode: int, wide_map: int) -> Kind:
    """The maps behind 0F, 0F 38 and 0F 3A."""
    if not wide_map and opcode in (0x38, 0x3A):
        wide_map, opcode = opcode, reader.next()
    if wide_map:
        reader.modrm()
        reader.at += wide_map == 0x3A
    elif 0x20 <= opcode <= 0x23:
        reader.at += 1  # MOV to and from CR and DR: registers, whatever ModRM.mod says
    elif opcode not in _NO_MODRM_0F:
        reader.modrm()
        reader.at += opcode in _BYTE_0F
    elif opcode & 0xF0 == 0x80:
        reader.at += reader.operand
    return Kind(0)


def _vex(reader: _Code, opcode: int) -> Kind:
    """An instruction with a VEX (C4, C5), EVEX (62) or XOP (8F, as C4) prefix."""
    wide_map = 1 if opcode == 0xC5 else reader.next() & (0x1F if opcode == 0xC4 else 7)
    reader.at += 1 if opcode == 0xC5 else 1 if opcode == 0xC4 else 2
    code = reader.next()
    if wide_map == 1 and code == 0x77:
        return Kind.VEX  # VZEROUPPER, VZEROALL
    reader.modrm()
    if wide_map in (3, 8) or (wide_map == 1 and code in _BYTE_0F):
        reader.at += 1
    elif wide_map == 10:
        reader.at += 4
    return Kind.VEX
