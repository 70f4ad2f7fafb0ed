"""VMX instructions executed by a guest: each a VM exit of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import vmx_constants as abi
from ntsim.hw.exceptions import invalid_opcode
from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.guest.exits import (
    REGISTER_OPERAND,
    displacement,
    instruction_exit,
    operand_information,
)
from ntsim.hw.vmx.guest.state import Guest
from ntsim.hw.vmx.instructions.guards import require_mode

if TYPE_CHECKING:
    from ntsim.hw.engine import Exit

_REASONS = {
    "vmcall": abi.EXIT_REASON_VMCALL,
    "vmclear": abi.EXIT_REASON_VMCLEAR,
    "vmlaunch": abi.EXIT_REASON_VMLAUNCH,
    "vmptrld": abi.EXIT_REASON_VMPTRLD,
    "vmptrst": abi.EXIT_REASON_VMPTRST,
    "vmread": abi.EXIT_REASON_VMREAD,
    "vmresume": abi.EXIT_REASON_VMRESUME,
    "vmwrite": abi.EXIT_REASON_VMWRITE,
    "vmxoff": abi.EXIT_REASON_VMXOFF,
    "vmxon": abi.EXIT_REASON_VMXON,
    "invept": abi.EXIT_REASON_INVEPT,
    "invvpid": abi.EXIT_REASON_INVVPID,
}
_FIRST_REGISTER_SHIFT, _SECOND_REGISTER_SHIFT = 3, 28


def vmx_instruction(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """VMCALL exits in every mode, the others where they are not #UD; VMFUNC is not supported."""
    reason = _REASONS.get(exit_.mnemonic)
    if reason is None:
        raise invalid_opcode(f"{exit_.mnemonic.upper()} is not enabled")
    if reason != abi.EXIT_REASON_VMCALL:
        guest.refresh_code_segment()
        require_mode(guest.vmx, exit_.mnemonic.upper())
    instruction = exit_.instruction
    assert instruction is not None
    information = 0
    if instruction.memory is not None:
        information = operand_information(instruction.memory)
    elif instruction.rm is not None:
        information = REGISTER_OPERAND | instruction.rm << _FIRST_REGISTER_SHIFT
    if exit_.mnemonic in ("vmread", "vmwrite", "invept", "invvpid"):
        information |= instruction.register << _SECOND_REGISTER_SHIFT
    return instruction_exit(reason, exit_, displacement(exit_), information=information)
