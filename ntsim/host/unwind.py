"""Unwinds frames of compiled code by the exception directory, as RtlVirtualUnwind does.

Source: x64 exception handling, "struct UNWIND_INFO", "Unwind procedure". A frame that was
interrupted in its epilogue is unwound by carrying the rest of the epilogue out: `epilogue`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ntsim.host import epilogue
from ntsim.host.native_image import NativeImage
from ntsim.host.pe import PeError, RuntimeFunction

RSP, XMM, WORDS = 4, 22, 54
"""Places in the engine's register file, of which `registers` here are a copy."""

(PUSH, ALLOC_LARGE, ALLOC_SMALL, SET_FRAME, SAVE, SAVE_FAR, EPILOG, SPARE, SAVE_XMM, SAVE_XMM_FAR,
 MACHINE_FRAME) = range(11)  # fmt: skip
EXCEPTION_HANDLER, TERMINATION_HANDLER, CHAINED = 1, 2, 4
_EXTRA_SLOTS = {SAVE: 1, SAVE_FAR: 2, SPARE: 2, SAVE_XMM: 1, SAVE_XMM_FAR: 2}
_DEEPEST_CHAIN = 32

ReadWord = Callable[[int], int]


@dataclass(frozen=True, slots=True)
class Code:
    """One unwind code: at `offset` in the prolog, with its operand in bytes or slots."""

    offset: int
    operation: int
    info: int
    operand: int


@dataclass(slots=True)
class UnwindInfo:
    """An UNWIND_INFO; `handler` and `data` are relative to the image, 0 if there is none."""

    prolog: int
    frame_register: int
    frame_offset: int
    codes: list[Code]
    flags: int
    handler: int
    data: int
    chained: tuple[int, int, int]


@dataclass(slots=True)
class Frame:
    """A frame that was unwound: its caller's `registers` and `rip`, its own base and handler.

    `handler` and `data` are relative to the image, 0 if there is none for where the frame was
    executing; `flags` say whether it handles exceptions, terminations or both. `saved` has the
    place of every register that the frame had on its stack, by its number in the register file.
    """

    rip: int
    registers: list[int]
    establisher: int
    native: NativeImage | None = None
    handler: int = 0
    data: int = 0
    flags: int = 0
    function: RuntimeFunction | None = None
    saved: dict[int, int] = field(default_factory=dict)


def read_info(native: NativeImage, place: int) -> UnwindInfo:
    """The UNWIND_INFO at a place of the image; PeError if it lies outside."""
    number = native.pe.number
    head, prolog, count, frame = (number(place + i, 1) for i in range(4))
    at = place + 4
    after = at + 2 * (count + (count & 1))
    flags = head >> 3
    handler = data = 0
    chained = (0, 0, 0)
    if flags & CHAINED:
        chained = (number(after, 4), number(after + 4, 4), number(after + 8, 4))
    elif flags & (EXCEPTION_HANDLER | TERMINATION_HANDLER):
        handler, data = number(after, 4), after + 4
    codes = list(_codes(native, at, count))
    return UnwindInfo(prolog, frame & 15, (frame >> 4) * 16, codes, flags, handler, data, chained)


def _codes(native: NativeImage, at: int, count: int) -> Iterator[Code]:
    number, index = native.pe.number, 0
    while index < count:
        offset, second = number(at + 2 * index, 1), number(at + 2 * index + 1, 1)
        operation, info = second & 15, second >> 4
        extra = _EXTRA_SLOTS.get(operation, 0)
        if operation == ALLOC_LARGE:
            extra = 2 if info else 1
        operand = number(at + 2 * index + 2, 2 * extra) if extra else 0
        if (operation == ALLOC_LARGE and not info) or operation == SAVE:
            operand *= 8
        elif operation == SAVE_XMM:
            operand *= 16
        yield Code(offset, operation, info, operand)
        index += 1 + extra


def unwind(
    native: NativeImage | None,
    rip: int,
    registers: list[int],
    read: ReadWord,
    function: RuntimeFunction | None = None,
) -> Frame:
    """One frame up from `rip` with `registers`, which stay as they are.

    `function` is the entry of the exception directory, looked up if it is not given.
    """
    after = list(registers)
    if function is None and native is not None:
        function = native.function_at(rip)
    if native is None or function is None:
        return _return(Frame(0, after, registers[RSP], native), read)
    made = Frame(0, after, registers[RSP], native, function=function)
    place, begin, chained, in_prolog = function.unwind, function.begin, False, False
    for _ in range(_DEEPEST_CHAIN):
        try:
            info = read_info(native, place)
        except PeError:  # damaged: what can be said of a leaf
            break
        offset = rip - native.image.base - begin
        in_prolog = not chained and offset < info.prolog
        if not chained:
            if info.frame_register and not (in_prolog and not _frame_is_set(info, offset)):
                made.establisher = after[info.frame_register] - info.frame_offset
            if not in_prolog and _may_end_here(info):
                frame = info.frame_register
                if epilogue.finish(native, function, frame, rip, made, read):
                    return made
        interrupted = _undo(info, offset if in_prolog else 0x100, made, read)
        if not in_prolog and info.handler:
            made.handler, made.data, made.flags = info.handler, info.data, info.flags
        if interrupted:
            return made
        if not info.flags & CHAINED:
            break
        begin, _, place = info.chained
        chained = True
    return _return(made, read)


def _may_end_here(info: UnwindInfo) -> bool:
    """Without unwind codes there is nothing that an epilogue would undo, and since Windows 10 1809
    none is looked for. Source: Wine, dlls/ntdll/tests/unwind.c."""
    return bool(info.codes or info.flags & CHAINED)


def _frame_is_set(info: UnwindInfo, offset: int) -> bool:
    return any(c.operation == SET_FRAME and c.offset <= offset for c in info.codes)


def _undo(info: UnwindInfo, offset: int, made: Frame, read: ReadWord) -> bool:
    """Undo what the prolog has done so far; True if a machine frame gave RIP and RSP."""
    registers = made.registers
    for code in info.codes:
        if code.offset > offset:
            continue
        if code.operation == PUSH:
            made.saved[code.info] = registers[RSP]
            registers[code.info] = read(registers[RSP])
            registers[RSP] += 8
        elif code.operation == ALLOC_LARGE:
            registers[RSP] += code.operand
        elif code.operation == ALLOC_SMALL:
            registers[RSP] += code.info * 8 + 8
        elif code.operation == SET_FRAME:
            registers[RSP] = registers[info.frame_register] - info.frame_offset
        elif code.operation in (SAVE, SAVE_FAR):
            made.saved[code.info] = made.establisher + code.operand
            registers[code.info] = read(made.establisher + code.operand)
        elif code.operation in (SAVE_XMM, SAVE_XMM_FAR):
            made.saved[XMM + 2 * code.info] = place = made.establisher + code.operand
            registers[XMM + 2 * code.info] = read(place)
            registers[XMM + 2 * code.info + 1] = read(place + 8)
        elif code.operation == MACHINE_FRAME:
            place = registers[RSP] + 8 * code.info
            made.rip, registers[RSP] = read(place), read(place + 24)
            return True
    return False


def _return(made: Frame, read: ReadWord) -> Frame:
    registers = made.registers
    made.rip = read(registers[RSP])
    registers[RSP] += 8
    return made
