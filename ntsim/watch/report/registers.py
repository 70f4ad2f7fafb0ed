"""The registers of the compiled code that crashed, and the instructions around its RIP."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator

from ntsim.nt.kernel import Kernel
from ntsim.nt.ki.frames import StackFrame
from ntsim.watch.report.model import Registers

_FIRST = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15 rip".split()
"""In the order of CONTEXT, from its offset 0x78 on."""

_ROWS = (
    ("rax", "rbx", "rcx"), ("rdx", "rsi", "rdi"), ("rip", "rsp", "rbp"), ("r8", "r9", "r10"),
    ("r11", "r12", "r13"), ("r14", "r15"),
)  # fmt: skip
_FLAGS = (
    (11, "ov", "nv"), (10, "dn", "up"), (9, "ei", "di"), (7, "ng", "pl"), (6, "zr", "nz"),
    (4, "ac", "na"), (2, "pe", "po"), (0, "cy", "nc"),
)  # fmt: skip
_BEFORE, _AFTER = 3, 2
_LONGEST = 15
_FARTHEST = 0x1_0000


def registers_of(nt: Kernel, stack: list[StackFrame]) -> Registers | None:
    """Those of the innermost driver frame if that is compiled code."""
    frame = next((f for f in stack if f.image is not nt.nt_image), None)
    if frame is None or not frame.registers:
        return None
    data = frame.registers
    values = dict(zip(_FIRST, struct.unpack_from("<17Q", data, 0x78), strict=True))
    values["efl"] = struct.unpack_from("<I", data, 0x44)[0]
    return Registers(
        frame=frame.call_site,
        symbols=f"{frame.image.module_name}: {frame.image.symbols_note}",
        values=values,
        code=tuple(_disassembly(nt, frame, values["rip"])),
    )


def _readable(nt: Kernel, address: int, size: int) -> bytes:
    """As many bytes as can be read, without a fault."""
    found = b""
    while len(found) < size:
        here = address + len(found)
        place = nt.mmu.probe(here)
        if place is None:
            break
        found += ctypes.string_at(place, min(size - len(found), 0x1000 - (here & 0xFFF)))
    return found


def _disassembly(nt: Kernel, frame: StackFrame, rip: int) -> Iterator[str]:
    """Some instructions around RIP. Those before it are found from the function's start."""
    import capstone

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    start = rip - frame.offset if frame.offset < _FARTHEST else rip
    code = _readable(nt, start, rip - start + _LONGEST * (_AFTER + 1))
    lines = list(decoder.disasm(code, start))
    at = next((i for i, each in enumerate(lines) if each.address == rip), None)
    if at is None:  # data in the code, or a jump into an instruction
        lines, at = list(decoder.disasm(_readable(nt, rip, _LONGEST * (_AFTER + 1)), rip)), 0
    for number, each in enumerate(lines[max(0, at - _BEFORE) : at + 1 + _AFTER]):
        mark = ">" if number == min(at, _BEFORE) else " "
        yield f"{mark}{each.address:016x} {each.bytes.hex():<20} {each.mnemonic} {each.op_str}"


def register_rows(registers: Registers) -> Iterator[str]:
    """In WinDbg's layout of `r`, then the place and its code."""
    values = registers.values
    for row in _ROWS:
        yield " ".join(f"{name:>3}={values[name]:016x}" for name in row)
    flags = values["efl"]
    words = " ".join(on if flags >> bit & 1 else off for bit, on, off in _FLAGS)
    yield f"iopl={flags >> 12 & 3} {words}  efl={flags:08x}"
    yield f"{registers.frame}:"
    yield from registers.code
    yield f"({registers.symbols})"
