"""INVPCID in a guest: #UD unless the host enables it, an exit with INVLPG exiting.

Source: SDM 3, "Changes to Instruction Behavior in VMX Non-Root Operation"; SDM 2, INVPCID.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import vmx_constants as abi
from ntsim.hw.exceptions import general_protection, invalid_opcode
from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.guest.exits import displacement, instruction_exit, operand_information
from ntsim.hw.vmx.guest.state import Guest

if TYPE_CHECKING:
    from ntsim.hw.engine import Exit

_REGISTER_SHIFT = 28


def invpcid(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """#UD comes before the privilege level, that before the exit."""
    if not guest.secondary & abi.SECONDARY_ENABLE_INVPCID:
        raise invalid_opcode('INVPCID without "enable INVPCID"')
    if guest.cpl:
        raise general_protection("INVPCID outside ring 0")
    instruction = exit_.instruction
    assert instruction is not None and instruction.memory is not None
    if guest.primary & abi.CPU_BASED_INVLPG_EXITING:
        information = operand_information(instruction.memory)
        information |= instruction.register << _REGISTER_SHIFT
        return instruction_exit(
            abi.EXIT_REASON_INVPCID, exit_, displacement(exit_), information=information
        )
    kind = guest.words[instruction.register] & guest.operand_mask
    place = exit_.operand_address()
    low, address = guest.memory.read_int(place, 8), guest.memory.read_int(place + 8, 8)
    guest.processor.invpcid(kind, low, address)
    guest.engine.flush_linear()
    guest.skip(exit_)
    return None
