"""Linear addresses that the instruction at RIP may touch, to find the one that faulted.

The engine reports a guest-physical address alone; an EPT violation has a linear one too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ntsim.hw.vmx.guest.ept import FETCH
from ntsim.hw.vmx.protocols import RDI, RSI

if TYPE_CHECKING:
    from ntsim.hw.vmx.guest.state import Guest

_RSP = 4
_MASK = 0xFFFF_FFFF_FFFF_FFFF
_PAGE = 0x1000
_NAMES = ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")


def linear_candidates(guest: Guest, access: int) -> Iterator[int]:
    """The most likely first: the code for a fetch, then operands, the stack, string operands."""
    view, registers = guest.world.view, guest.registers
    code = view.code_address(registers.rip, registers.cs)
    if access == FETCH:
        yield code
        yield (code | _PAGE - 1) + 1 & _MASK
        return
    yield from operands(guest)
    words = guest.words
    for offset in (-8, 0, 8):
        yield view.linear("ss", words[_RSP] + offset & _MASK)
    yield view.linear("ds", words[RSI])
    yield view.linear("es", words[RDI])
    yield code


def operands(guest: Guest) -> Iterator[int]:
    """Memory operands as capstone decodes them."""
    import capstone
    from capstone.x86 import X86_OP_MEM

    view, registers = guest.world.view, guest.registers
    mode = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
    decoder = capstone.Cs(capstone.CS_ARCH_X86, mode[view.mode(registers.cs)])
    decoder.detail = True
    raw = view.code(registers.rip, registers.cs)
    for instruction in decoder.disasm(raw, registers.rip, 1):
        for operand in instruction.operands:
            if operand.type == X86_OP_MEM:
                yield _address(guest, instruction, operand.mem)


def _address(guest: Guest, instruction: Any, memory: Any) -> int:
    def value(register: int) -> int:
        if not register:
            return 0
        name = str(instruction.reg_name(register))
        if name in ("rip", "eip"):
            return int(instruction.address) + int(instruction.size)
        return guest.words[_number(name)]

    offset = value(memory.base) + value(memory.index) * int(memory.scale) + int(memory.disp)
    bits = 8 * int(instruction.addr_size)
    segment = str(instruction.reg_name(memory.segment)) if memory.segment else None
    if segment is None:
        stack = memory.base and str(instruction.reg_name(memory.base))[-2:] in ("sp", "bp")
        segment = "ss" if stack else "ds"
    return guest.world.view.linear(segment, offset & (1 << bits) - 1)


def _number(name: str) -> int:
    """The register's number: "rax", "eax" and "ax" are 0, "r9d" is 9."""
    if name[0] == "r" and name[1:].rstrip("dwb").isdigit():
        return int(name[1:].rstrip("dwb"))
    return _NAMES.index(name[-2:])
