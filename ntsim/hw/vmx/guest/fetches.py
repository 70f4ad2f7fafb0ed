"""Where the code of a guest with EPT may be fetched from.

Nested tables leave every page executable (`nested.py` says why), so EPT's execute rights are looked
at when the engine meets code that is new to it, block by block, or, where it does not count blocks
and some page is not executable, before each instruction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.hw.vmx.guest.ept import FETCH, EptFault, EptPage
from ntsim.hw.vmx.guest.operands import instruction_length

if TYPE_CHECKING:
    from ntsim.hw.vmx.guest.state import Guest

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_LARGEST_MAPPED = 1 << 21


def may_fetch(guest: Guest, linear: int, size: int) -> int | None:
    """The guest-physical address at which code of `size` bytes cannot be fetched, if any.

    What is in the way of that in the guest's own tables the engine finds itself.
    """
    if guest.ept is None:
        return None
    for place in (linear, linear + size - 1 & _MASK):
        physical = guest.memory.guest_physical(place)
        if physical is None:
            continue
        guest.code_pages.add(physical >> 12)
        try:
            rights = guest.ept.walk(physical).rights
        except EptFault:
            continue  # the engine goes there itself
        if not rights & FETCH:
            return physical if place == linear else physical & ~0xFFF
    return None


def next_fetch(guest: Guest) -> int | None:
    """As `may_fetch`, of the instruction at RIP."""
    registers = guest.registers
    code = guest.world.view.code_address(registers.rip, registers.cs)
    return may_fetch(guest, code, instruction_length(guest))


def forbid_fetches(guest: Guest, address: int, page: EptPage) -> None:
    """A page from which nothing may be fetched has been mapped.

    Code that the engine has translated there is asked about again; where blocks are not counted
    each instruction is.
    """
    size = min(page.size, _LARGEST_MAPPED)
    first = (address & -size) >> 12
    if any(first <= number < first + (size >> 12) for number in guest.code_pages):
        guest.engine.invalidate_code()
    if not guest.engine.by_block:
        guest.asks_each = guest.careful = True
