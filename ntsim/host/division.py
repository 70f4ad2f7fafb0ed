"""What a divide error was about: the divisor, which the kernel looks at.

The processor has one exception for a zero divisor and for a quotient that does not fit. Windows
decodes the instruction and makes STATUS_INTEGER_OVERFLOW of the second. Source: SDM 2, DIV, IDIV
and "ModR/M and SIB Bytes"; Win32, EXCEPTION_INT_OVERFLOW.
"""

from __future__ import annotations

from collections.abc import Sequence

from ntsim.hw.mmu import Mmu

_LONGEST = 15
_OPERAND_SIZE, _DIVISIONS = 0x66, (6, 7)
_MASK = 0xFFFF_FFFF_FFFF_FFFF


def overflows(mmu: Mmu, words: Sequence[int], rip: int) -> bool:
    """Whether the division at `rip`, with these registers, has a divisor that is not zero."""
    length = min(_LONGEST, 0x1000 - (rip & 0xFFF))
    code = mmu.read(rip, length).ljust(2 * _LONGEST, b"\0")
    at, size, rex = 0, 4, 0
    if code[at] == _OPERAND_SIZE:
        at, size = at + 1, 2
    if code[at] & 0xF0 == 0x40:
        at, rex = at + 1, code[at]
    if code[at] not in (0xF6, 0xF7) or code[at + 1] >> 3 & 7 not in _DIVISIONS:
        return False
    size = 1 if code[at] == 0xF6 else 8 if rex & 8 else size
    mode, number = code[at + 1] >> 6, code[at + 1] & 7
    if mode == 3:
        return bool(_register(words, number | (rex & 1) << 3, size, rex))
    address = _address(code, at + 1, rex, words, rip)
    return mmu.probe(address) is not None and any(mmu.read(address, size))


def _register(words: Sequence[int], number: int, size: int, rex: int) -> int:
    if size == 1 and not rex and number >= 4:  # AH, CH, DH, BH
        return words[number - 4] >> 8 & 0xFF
    return words[number] & (1 << 8 * size) - 1


def _address(code: bytes, at: int, rex: int, words: Sequence[int], rip: int) -> int:
    """The address of the memory operand whose ModR/M byte is at `at`."""
    mode, base = code[at] >> 6, code[at] & 7
    at, total, anchored = at + 1, 0, True
    if base == 4:
        scale, index, base = code[at] >> 6, code[at] >> 3 & 7 | (rex & 2) << 2, code[at] & 7
        at += 1
        total = words[index] << scale if index != 4 else 0
        anchored = mode != 0 or base != 5
    relative = mode == 0 and base == 5 and anchored
    wide = 1 if mode == 1 else 4 if mode == 2 or relative or not anchored else 0
    total += int.from_bytes(code[at : at + wide], "little", signed=True)
    if relative:
        total += rip + at + wide
    elif anchored:
        total += words[base | (rex & 1) << 3]
    return total & _MASK
