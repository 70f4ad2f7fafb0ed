"""IN, OUT, INS, OUTS: permission, I/O bitmaps, and the port bus.

Source: SDM 3, "Instructions That Cause VM Exits Conditionally", "Exit Qualification for I/O
Instructions"; SDM 1, "Input/Output", for the permission bitmap in the TSS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ntsim.abi import vmx_constants as abi
from ntsim.hw.exceptions import general_protection
from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.guest.ept import WRITE
from ntsim.hw.vmx.guest.exits import instruction_exit
from ntsim.hw.vmx.guest.state import Guest
from ntsim.hw.vmx.protocols import RAX, RCX, RDI, RDX, RSI
from ntsim.hw.vmx.vmcs import peek

if TYPE_CHECKING:
    from ntsim.hw.engine import Exit, Instruction

_IN, _STRING, _REP, _IMMEDIATE = 1 << 3, 1 << 4, 1 << 5, 1 << 6
_ADDRESS_SIZES = {2: 0, 4: 1, 8: 2}
_SEGMENT_NUMBERS = {"es": 0, "cs": 1, "ss": 2, "ds": 3, "fs": 4, "gs": 5}
_MONITOR_LENGTH = 3
_SEGMENT_PREFIXES = {0x26: "es", 0x2E: "cs", 0x36: "ss", 0x3E: "ds", 0x64: "fs", 0x65: "gs"}
_STRINGS = ("ins", "outs")
_IO_MAP_BASE = 0x66  # in a TSS
_BITMAP_PORTS = 0x8000


@dataclass(frozen=True, slots=True)
class _StringForm:
    """What the prefixes and the opcode of an INS or OUTS say; sizes in bytes."""

    size: int
    address_size: int
    segment: str

    @property
    def address_mask(self) -> int:
        return (1 << 8 * self.address_size) - 1


def io(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """Refuse, exit, or do it."""
    instruction = exit_.instruction
    assert instruction is not None
    string = _string_form(guest, exit_) if instruction.mnemonic in _STRINGS else None
    if not exit_.io_allowed:
        _check_permission_bitmap(guest, exit_.port, exit_.size)
    if _exits(guest, exit_.port, exit_.size):
        return _io_exit(guest, exit_, instruction, string)
    if string is not None:
        _move_string(guest, exit_, instruction, string)
        return None
    if exit_.is_write:
        value = guest.words[RAX] & (1 << 8 * exit_.size) - 1
        guest.processor.port_out(exit_.port, exit_.size, value)
    else:
        value = guest.processor.port_in(exit_.port, exit_.size)
        _set_accumulator(guest, exit_.size, value)
    guest.skip(exit_)
    return None


def string_fault(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """INS or OUTS whose memory faults: permission and VM exits come before that fault.

    None if there is no VM exit.
    """
    instruction = exit_.instruction
    assert instruction is not None
    string = _string_form(guest, exit_)
    exit_.port, exit_.size = guest.words[RDX] & 0xFFFF, string.size
    exit_.is_write = instruction.mnemonic == "outs"
    if not exit_.io_allowed:
        _check_permission_bitmap(guest, exit_.port, exit_.size)
    if _exits(guest, exit_.port, exit_.size):
        return _io_exit(guest, exit_, instruction, string)
    return None


def monitored(guest: Guest, exit_: Exit) -> int:
    """Linear address that MONITOR watches: RAX in DS or the segment of a prefix."""
    view, cs = guest.world.view, guest.registers.cs
    raw = view.code(exit_.rip, cs)[: exit_.instruction_length - _MONITOR_LENGTH]
    own, other = {16: (2, 4), 32: (4, 2), 64: (8, 4)}[view.mode(cs)]
    mask = (1 << 8 * (other if 0x67 in raw else own)) - 1
    segments = [_SEGMENT_PREFIXES[byte] for byte in raw if byte in _SEGMENT_PREFIXES]
    return view.linear((segments or ["ds"])[-1], guest.words[RAX] & mask)


def _string_form(guest: Guest, exit_: Exit) -> _StringForm:
    """The decoder keeps no operands of INS and OUTS: their one opcode byte is the last."""
    view, cs = guest.world.view, guest.registers.cs
    raw = view.code(exit_.rip, cs)[: exit_.instruction_length]
    bits = view.mode(cs)
    sizes = {16: (2, 4), 32: (4, 2), 64: (8, 4)}[bits]
    operand = 2 if (bits == 16) != (0x66 in raw[:-1]) else 4
    segments = [_SEGMENT_PREFIXES[byte] for byte in raw[:-1] if byte in _SEGMENT_PREFIXES]
    outs = raw[-1] & 2
    return _StringForm(
        size=operand if raw[-1] & 1 else 1,
        address_size=sizes[0x67 in raw[:-1]],
        segment=(segments or ["ds"])[-1] if outs else "es",
    )


def _set_accumulator(guest: Guest, size: int, value: int) -> None:
    """AL and AX leave the rest of RAX alone; EAX clears the upper half."""
    if size == 4:
        guest.set_32(RAX, value)
    else:
        mask = (1 << 8 * size) - 1
        guest.words[RAX] = guest.words[RAX] & ~mask | value & mask


def _exits(guest: Guest, port: int, size: int) -> bool:
    """I/O bitmaps, if used, decide alone; an access past port FFFFH always exits."""
    if not guest.primary & abi.CPU_BASED_USE_IO_BITMAPS:
        return bool(guest.primary & abi.CPU_BASED_UNCONDITIONAL_IO_EXITING)
    if port + size > 0x10000:
        return True
    return any(_bitmap_bit(guest, one) for one in range(port, port + size))


def _bitmap_bit(guest: Guest, port: int) -> bool:
    page = guest.get(abi.IO_BITMAP_A if port < _BITMAP_PORTS else abi.IO_BITMAP_B)
    port %= _BITMAP_PORTS
    byte = peek(guest.physical_memory, page + (port >> 3), 1)[0]
    return bool(byte >> (port & 7) & 1)


def _io_exit(
    guest: Guest, exit_: Exit, instruction: Instruction, string: _StringForm | None
) -> ExitInformation:
    qualification = exit_.size - 1 | exit_.port << 16 | (0 if exit_.is_write else _IN)
    if string is None:
        qualification |= _IMMEDIATE if instruction.immediate is not None else 0
        return instruction_exit(abi.EXIT_REASON_IO_INSTRUCTION, exit_, qualification)
    qualification |= _STRING | (_REP if instruction.repeated else 0)
    information = _ADDRESS_SIZES[string.address_size] << 7
    if exit_.is_write:
        information |= _SEGMENT_NUMBERS[string.segment] << 15
    return instruction_exit(
        abi.EXIT_REASON_IO_INSTRUCTION,
        exit_,
        qualification,
        information=information,
        linear=_string_address(guest, exit_, string),
    )


def _string_address(guest: Guest, exit_: Exit, string: _StringForm) -> int:
    """Linear address of the next element: ES:RDI, or RSI in DS or the segment of a prefix."""
    index = guest.words[RSI if exit_.is_write else RDI]
    return guest.world.view.linear(string.segment, index & string.address_mask)


def _move_string(guest: Guest, exit_: Exit, instruction: Instruction, string: _StringForm) -> None:
    """One iteration; a repeated instruction stays until RCX is used up."""
    mask = string.address_mask
    if instruction.repeated and not guest.words[RCX] & mask:
        guest.skip(exit_)
        return
    linear, user = _string_address(guest, exit_, string), guest.cpl == 3
    if exit_.is_write:
        value = guest.memory.read_int(linear, exit_.size, user=user)
        guest.processor.port_out(exit_.port, exit_.size, value)
    else:
        guest.memory.translate(linear, WRITE, user)  # a fault comes before the port is read
        value = guest.processor.port_in(exit_.port, exit_.size)
        guest.memory.write(linear, value.to_bytes(exit_.size, "little"), user=user)
    step = -exit_.size if guest.registers.rflags & abi.RFLAGS_DF else exit_.size
    _add(guest, RSI if exit_.is_write else RDI, step, mask)
    if instruction.repeated:
        _add(guest, RCX, -1, mask)
    if not instruction.repeated or not guest.words[RCX] & mask:
        guest.skip(exit_)


def _add(guest: Guest, register: int, step: int, mask: int) -> None:
    """Add to a register at the width of the address."""
    value = guest.words[register]
    kept = 0 if mask == 0xFFFF_FFFF else value & ~mask
    guest.words[register] = kept | value + step & mask


def _check_permission_bitmap(guest: Guest, port: int, size: int) -> None:
    """CPL above IOPL, or virtual-8086 mode: each port's bit in the TSS has to be 0."""
    tr = guest.processor.tr
    refused = general_protection(f"I/O to port {port:#x} at CPL {guest.cpl}")
    if tr.limit < _IO_MAP_BASE + 1:
        raise refused
    offset = guest.memory.read_int(tr.base + _IO_MAP_BASE, 2) + (port >> 3)
    if offset + 1 > tr.limit:
        raise refused
    bits = guest.memory.read_int(tr.base + offset, 2) >> (port & 7)
    if bits & (1 << size) - 1:
        raise refused
