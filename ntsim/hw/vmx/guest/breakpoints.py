"""Breakpoints in the guest's debug registers.

The engine knows none: while one is armed the guest runs instruction by instruction, and each is
looked at before it is executed. What it is going to access is found by decoding it.
Source: SDM 3, "Debug Registers", "Breakpoint Exception Conditions"; "Instruction-Breakpoint
Exception Condition" for RFLAGS.RF.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.guest.ept import WRITE
from ntsim.hw.vmx.guest.operands import accesses, port_access
from ntsim.hw.vmx.guest.state import RFLAGS

if TYPE_CHECKING:
    from ntsim.hw.vmx.guest.state import Guest

PENDING_ENABLED = 1 << 12
"""In pending debug exceptions: one of the breakpoints met was enabled."""

_ON_EXECUTION, _ON_WRITE, _ON_PORT, _ON_ACCESS = range(4)
_LENGTHS = (1, 2, 8, 4)
_CR4_DE = 1 << 3


class Breakpoint(NamedTuple):
    """An enabled breakpoint: its bit in DR6, and `length` bytes from `first` on."""

    cause: int
    first: int
    length: int
    kind: int

    def touches(self, address: int, size: int) -> bool:
        return self.first < address + size and address < self.first + self.length


def _armed(guest: Guest) -> Iterator[Breakpoint]:
    dr = guest.unseen_processor.dr
    for number in range(4):
        if dr[7] >> 2 * number & 3:
            fields = dr[7] >> 16 + 4 * number & 0xF
            length = _LENGTHS[fields >> 2]
            yield Breakpoint(1 << number, dr[number] & -length, length, fields & 3)


def at_instruction(guest: Guest) -> int:
    """The breakpoints on the instruction at RIP, as bits of DR6: a fault before it.

    RFLAGS.RF lets it pass, and so does the instruction after a load of SS.
    """
    words, registers = guest.words, guest.registers
    held_off = guest.vmx.interruptibility & abi.BLOCKING_BY_MOV_SS
    if words[RFLAGS] & abi.RFLAGS_RF or held_off:
        return 0
    place = guest.world.view.code_address(registers.rip, registers.cs)
    return sum(
        one.cause for one in _armed(guest) if one.kind == _ON_EXECUTION and one.first == place
    )


def ahead(guest: Guest) -> int:
    """The breakpoints on what the instruction at RIP accesses, as bits of DR6: a trap behind it."""
    data, ports = [], []
    for one in _armed(guest):
        if one.kind in (_ON_WRITE, _ON_ACCESS):
            data.append(one)
        elif one.kind == _ON_PORT and guest.processor.cr4 & _CR4_DE:
            ports.append(one)
    met = 0
    if data:
        for access in accesses(guest):
            for one in data:
                counts = one.kind == _ON_ACCESS or access.rights & WRITE
                if counts and one.touches(access.linear, access.size):
                    met |= one.cause
    if ports and (port := port_access(guest)) is not None:
        met |= sum(one.cause for one in ports if one.touches(*port))
    return met
