"""Whether compiled code stands in an epilogue, and what the rest of that epilogue does.

An epilogue is an optional `add rsp, n` or `lea rsp, [frame + n]`, pops of 64-bit registers, and a
return or a jump out of the function; nothing else, so that its instructions can be carried out
here. Source: Microsoft, x64 prolog and epilog, "Epilog code"; x64 exception handling, "Unwind
procedure", "Chained unwind info structures".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ntsim.host.pe import PeError, RuntimeFunction

if TYPE_CHECKING:
    from ntsim.host.native_image import NativeImage
    from ntsim.host.unwind import Frame

RSP = 4
_MOST_POPS = 9
_CHAINED = 4
_DEEPEST_CHAIN = 32
_ADD_8, _ADD_32 = b"\x48\x83\xc4", b"\x48\x81\xc4"
_RETURNS = (0xC2, 0xC3, 0xCB)


def finish(
    native: NativeImage,
    function: RuntimeFunction,
    frame_register: int,
    rip: int,
    made: Frame,
    read: Callable[[int], int],
) -> bool:
    """Carry the rest of the epilogue out on `made`; False, and nothing done, if there is none."""
    at = rip - native.image.base
    code = bytes(native.pe.memory[at : at + 32]).ljust(32, b"\0")
    registers = made.registers
    moved, length = _move(code, frame_register, registers)
    pops, end = _pops(code, length)
    if not _leaves(native, code, end, at, function):
        return False
    registers[RSP] = moved
    for register in pops:
        made.saved[register] = registers[RSP]
        registers[register] = read(registers[RSP])
        registers[RSP] += 8
    made.rip = read(registers[RSP])
    registers[RSP] += 8
    return True


def _move(code: bytes, frame_register: int, registers: list[int]) -> tuple[int, int]:
    """(stack pointer behind the first instruction, its length): 0 bytes if it is something else."""
    if code[:3] == _ADD_8:
        return registers[RSP] + int.from_bytes(code[3:4], "little", signed=True), 4
    if code[:3] == _ADD_32:
        return registers[RSP] + int.from_bytes(code[3:7], "little", signed=True), 7
    rex_ok = code[:1] in (b"\x48", b"\x49") and code[1:2] == b"\x8d"
    if rex_ok and frame_register and code[2] >> 3 & 7 == RSP:
        mode, base = code[2] >> 6, code[2] & 7 | (code[0] & 1) << 3
        if base == frame_register and mode in (1, 2) and base & 7 != RSP:
            size = 1 if mode == 1 else 4
            displacement = int.from_bytes(code[3 : 3 + size], "little", signed=True)
            return registers[base] + displacement, 3 + size
    return registers[RSP], 0


def _pops(code: bytes, at: int) -> tuple[list[int], int]:
    """The registers popped from `at` on, and where that ends."""
    found: list[int] = []
    while len(found) < _MOST_POPS:
        if code[at] & 0xF8 == 0x58:
            found.append(code[at] & 7)
            at += 1
        elif code[at] == 0x41 and code[at + 1] & 0xF8 == 0x58:
            found.append(code[at + 1] & 7 | 8)
            at += 2
        else:
            break
    return found, at


def _leaves(
    native: NativeImage, code: bytes, at: int, start: int, function: RuntimeFunction
) -> bool:
    """Whether the instruction at `at` returns, or jumps out of the function."""
    if code[at] == 0xF3:  # rep ret
        return code[at + 1] == 0xC3
    if code[at] in _RETURNS:
        return True
    if code[at] in (0xE9, 0xEB):
        size = 4 if code[at] == 0xE9 else 1
        displacement = int.from_bytes(code[at + 1 : at + 1 + size], "little", signed=True)
        return _is_tail_call(native, function, start + at + 1 + size + displacement)
    if code[at] == 0xFF and code[at + 1] == 0x25:
        return True
    return code[at] & 0xF8 == 0x48 and code[at + 1] == 0xFF and code[at + 2] & 0x38 == 0x20


def _is_tail_call(native: NativeImage, function: RuntimeFunction, target: int) -> bool:
    """Whether a jump from `function` to a place of the image leaves the whole function.

    Compilers split functions: parts with exception-directory entries of their own, chained to one
    primary entry, jump into each other in the middle of the body. A jump to the first instruction
    is a tail call of the function to itself.
    """
    if function.begin <= target < function.end:
        return target == function.begin and not _is_part(native, function)
    other = native.function_at(native.image.base + target)
    if other is None:
        return True
    primary = _primary(native, function)
    return primary != _primary(native, other) or target == primary[0]


def _primary(native: NativeImage, function: RuntimeFunction) -> tuple[int, int, int]:
    """(begin, end, unwind) of the entry that a chain of entries ends in."""
    found = function.begin, function.end, function.unwind
    for _ in range(_DEEPEST_CHAIN):
        after = _chained_to(native, found[2])
        if after is None:
            break
        found = after
    return found


def _is_part(native: NativeImage, function: RuntimeFunction) -> bool:
    return _chained_to(native, function.unwind) is not None


def _chained_to(native: NativeImage, place: int) -> tuple[int, int, int] | None:
    """The entry that an UNWIND_INFO is chained to, None if to none or it is damaged."""
    number = native.pe.number
    try:
        if not number(place, 1) >> 3 & _CHAINED:
            return None
        count = number(place + 2, 1)
        after = place + 4 + 2 * (count + (count & 1))
        return number(after, 4), number(after + 4, 4), number(after + 8, 4)
    except PeError:
        return None
