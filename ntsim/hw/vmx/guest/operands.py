"""What the instruction at RIP reads and writes, by its decoding.

The engine reports a guest-physical address alone; an EPT violation has a linear one too, and data
breakpoints are about linear addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ntsim.hw.vmx.guest.ept import FETCH, READ, WRITE
from ntsim.hw.vmx.protocols import RAX, RBX, RCX, RDX

if TYPE_CHECKING:
    from ntsim.hw.vmx.guest.state import Guest

_RSP, _RBP = 4, 5
_MASK = 0xFFFF_FFFF_FFFF_FFFF
_PAGE = 0x1000
_IRET = 0xCF
_FAR_DIRECT, _FAR_INDIRECT = {0x9A: "call", 0xEA: "jmp"}, {3: "call", 5: "jmp"}
_IMMEDIATE = 2  # capstone's X86_OP_IMM
_NAMES = ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")
_BIG = 1 << 14  # D/B in access rights

_NO_ACCESS = frozenset(
    "lea nop invlpg prefetch prefetchw prefetchnta prefetcht0 prefetcht1 prefetcht2".split()
)
"""Have a memory operand and read nothing there."""

_STORES = frozenset(
    "fst fstp fist fistp fisttp fbstp fnstcw fnstsw fnstenv fnsave fxsave fxsave64 stmxcsr "
    "sgdt sidt insb insw insd".split()
)
_BOTH = frozenset(("cmpxchg", "cmpxchg8b", "cmpxchg16b"))
_SIZES = {"fxsave": 512, "fxsave64": 512, "fxrstor": 512, "fxrstor64": 512,
          "fnsave": 108, "frstor": 108, "fnstenv": 28, "fldenv": 28}  # fmt: skip
_BIT_TESTS = frozenset(("bt", "bts", "btr", "btc"))
_STRINGS = frozenset(("movs", "cmps", "stos", "scas", "lods", "ins", "outs"))
_PUSHES = {"push": 1, "pushf": 1, "call": 1, "lcall": 2, "enter": 1, "pushal": 8, "pushaw": 8}
_POPS = {"pop": 1, "popf": 1, "ret": 1, "retf": 2, "popal": 8, "popaw": 8, "iret": 3}
"""How many words of the operand size go to or come from the stack."""


class Access(NamedTuple):
    """One access to data: `size` bytes at a linear address; `rights` READ, WRITE or both."""

    linear: int
    size: int
    rights: int


def linear_candidates(guest: Guest, access: int) -> Iterator[tuple[int, int]]:
    """Where an access may have been, the most likely first, with READ, WRITE or FETCH."""
    view, registers = guest.world.view, guest.registers
    code = view.code_address(registers.rip, registers.cs)
    if access == FETCH:
        yield code, FETCH
        yield (code | _PAGE - 1) + 1 & _MASK, FETCH
        return
    found = accesses(guest)
    for wanted in (access, READ | WRITE):
        for one in found:
            if one.rights & wanted:
                kind = WRITE if one.rights & WRITE else READ
                yield one.linear, kind
                yield one.linear + one.size - 1 & _MASK, kind
    yield code, FETCH


def accesses(guest: Guest) -> list[Access]:
    """Memory operands, string operands and the stack; nothing if it cannot be decoded."""
    view, registers = guest.world.view, guest.registers
    raw = view.code(registers.rip, registers.cs)
    for instruction in _decoder(view.mode(registers.cs)).disasm(raw, registers.rip, 1):
        if _repeats(instruction) and not _count(guest, instruction):
            return []
        return [*_operands(guest, instruction), *_stack(guest, instruction)]
    return []


class FarOperand(NamedTuple):
    """What a far JMP, far CALL or IRET says: its selector, or the linear address of that."""

    name: str
    length: int
    selector: int = 0
    place: int | None = None


def far_operand(guest: Guest) -> FarOperand | None:
    """Of the instruction at RIP; None if it is none of them."""
    view, registers = guest.world.view, guest.registers
    raw = view.code(registers.rip, registers.cs)
    for instruction in _decoder(view.mode(registers.cs)).disasm(raw, registers.rip, 1):
        opcode, length = instruction.opcode[0], int(instruction.size)
        if opcode == _IRET:
            return FarOperand("iret", length)
        if opcode in _FAR_DIRECT:
            return FarOperand(_FAR_DIRECT[opcode], length, int(instruction.operands[0].imm))
        way = int(instruction.modrm) >> 3 & 7
        if opcode == 0xFF and way in _FAR_INDIRECT:
            linear = _address(guest, instruction, instruction.operands[0].mem, "")
            wide = (view.mode(registers.cs) == 16) == (0x66 in bytes(instruction.prefix))
            return FarOperand(_FAR_INDIRECT[way], length, 0, linear + (4 if wide else 2))
    return None


def port_access(guest: Guest) -> tuple[int, int] | None:
    """The port that the instruction at RIP accesses, and how many bytes of it; None if none."""
    view, registers = guest.world.view, guest.registers
    raw = view.code(registers.rip, registers.cs)
    for instruction in _decoder(view.mode(registers.cs)).disasm(raw, registers.rip, 1):
        name = _name(instruction)
        if name in ("in", "out"):
            register, port = instruction.operands[:: 1 if name == "in" else -1]
            number = int(port.imm) & 0xFF if port.type == _IMMEDIATE else guest.words[RDX] & 0xFFFF
            return number, int(register.size)
        if name[:3] == "ins" or name[:4] == "outs":
            if _repeats(instruction) and not _count(guest, instruction):
                return None
            return guest.words[RDX] & 0xFFFF, {"b": 1, "w": 2, "d": 4}[name[-1]]
    return None


def _repeats(instruction: Any) -> bool:
    return bytes(instruction.prefix)[0] in (0xF2, 0xF3) and str(instruction.mnemonic)[:3] == "rep"


def _count(guest: Guest, instruction: Any) -> int:
    """RCX, ECX or CX."""
    return guest.words[RCX] & (1 << 8 * int(instruction.addr_size)) - 1


def instruction_length(guest: Guest) -> int:
    """Of the instruction at RIP, in bytes; 1 if it cannot be decoded."""
    view, registers = guest.world.view, guest.registers
    raw = view.code(registers.rip, registers.cs)
    for _, size, _, _ in _decoder(view.mode(registers.cs)).disasm_lite(raw, registers.rip, 1):
        return int(size)
    return 1


@cache
def _decoder(mode: int) -> Any:
    import capstone

    modes = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
    decoder = capstone.Cs(capstone.CS_ARCH_X86, modes[mode])
    decoder.detail = True
    return decoder


def _name(instruction: Any) -> str:
    """The mnemonic without prefixes."""
    return str(instruction.mnemonic).rsplit(" ", 1)[-1]


def _operands(guest: Guest, instruction: Any) -> Iterator[Access]:
    from capstone.x86 import X86_OP_MEM, X86_OP_REG

    name = _name(instruction)
    if name in _NO_ACCESS:
        return
    if name == "xlatb":
        offset = guest.words[RBX] + (guest.words[RAX] & 0xFF)
        yield Access(_linear(guest, instruction, "ds", offset), 1, READ)
        return
    operands = instruction.operands
    for number, operand in enumerate(operands):
        if operand.type != X86_OP_MEM:
            continue
        linear = _address(guest, instruction, operand.mem, name)
        if name in _BIT_TESTS and operands[1].type == X86_OP_REG:
            linear = linear + _bit_offset(guest, instruction, operands[1]) & _MASK
        yield Access(
            linear, _SIZES.get(name, int(operand.size)), _rights(name, number, operand.access)
        )


def _rights(name: str, number: int, said: int) -> int:
    """READ, WRITE or both; the decoder is wrong about some stores."""
    if name in _BOTH:
        return READ | WRITE
    if name in _STORES or (name.startswith("mov") and number == 0):
        return WRITE
    return (said & 3) or READ


def _bit_offset(guest: Guest, instruction: Any, register: Any) -> int:
    """BT and its family reach beyond their operand: in bytes, in units of its size."""
    bits = 8 * int(register.size)
    name = str(instruction.reg_name(register.reg))
    index = guest.words[_number(name)] & (1 << bits) - 1
    signed = index - (1 << bits) if index >> bits - 1 else index
    return signed // bits * (bits // 8)


def _stack(guest: Guest, instruction: Any) -> Iterator[Access]:
    """What goes to the stack or comes from it, in one piece."""
    name = _name(instruction).rstrip("qd") if _name(instruction)[:4] in (
        "push", "popf", "iret", "retf",
    ) else _name(instruction)  # fmt: skip
    words, mode = guest.words, guest.world.view.mode(guest.registers.cs)
    size = 8 if mode == 64 else mode >> 3
    if 0x66 in bytes(instruction.prefix):
        size = 2 if mode != 16 else 4
    if name == "leave":
        yield Access(_stack_linear(guest, words[_RBP]), size, READ)
        return
    name = {"pushal": "pushal", "pusha": "pushal", "popa": "popal"}.get(name, name)
    if name in _PUSHES:
        total = size * _PUSHES[name]
        yield Access(_stack_linear(guest, words[_RSP] - total), total, WRITE)
    elif name in _POPS:
        total = size * (5 if name == "iret" and mode == 64 else _POPS[name])
        yield Access(_stack_linear(guest, words[_RSP]), total, READ)


def _stack_linear(guest: Guest, offset: int) -> int:
    view = guest.world.view
    if view.mode(guest.registers.cs) != 64 and not guest.processor.ss.access_rights & _BIG:
        offset &= 0xFFFF
    return view.linear("ss", offset & _MASK)


def _linear(guest: Guest, instruction: Any, segment: str, offset: int) -> int:
    bits = 8 * int(instruction.addr_size)
    return guest.world.view.linear(segment, offset & (1 << bits) - 1)


def _address(guest: Guest, instruction: Any, memory: Any, name: str) -> int:
    def value(register: int) -> int:
        if not register:
            return 0
        known = str(instruction.reg_name(register))
        if known in ("rip", "eip"):
            return int(instruction.address) + int(instruction.size)
        return guest.words[_number(known)]

    offset = value(memory.base) + value(memory.index) * int(memory.scale) + int(memory.disp)
    segment = str(instruction.reg_name(memory.segment)) if memory.segment else None
    base = str(instruction.reg_name(memory.base))[-2:] if memory.base else ""
    if base == "di" and name[:4] in _STRINGS | {"ins" + size for size in "bwd"}:
        segment = "es"
    if segment is None:
        segment = "ss" if base in ("sp", "bp") else "ds"
    return _linear(guest, instruction, segment, offset)


def _number(name: str) -> int:
    """The register's number: "rax", "eax" and "ax" are 0, "r9d" is 9."""
    if name[0] == "r" and name[1:].rstrip("dwb").isdigit():
        return int(name[1:].rstrip("dwb"))
    return _NAMES.index(name[-2:])
