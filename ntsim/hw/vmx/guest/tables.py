"""Descriptor-table instructions, which stop the engine with descriptor-table exiting only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.guest.exits import (
    REGISTER_OPERAND,
    displacement,
    instruction_exit,
    operand_information,
)
from ntsim.hw.vmx.guest.state import Guest

if TYPE_CHECKING:
    from ntsim.hw.engine import Exit

# Instruction identity, bits 29:28 of the instruction information (SDM 3, its tables).
_IDENTITIES = {
    "sgdt": 0, "sidt": 1, "lgdt": 2, "lidt": 3,
    "sldt": 0, "str": 1, "lldt": 2, "ltr": 3,
}  # fmt: skip
_GDTR_OR_IDTR = frozenset({"sgdt", "sidt", "lgdt", "lidt"})
_OPERAND_SIZE_32 = 1 << 11


def descriptor_table(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """SGDT, SIDT, LGDT, LIDT: reason 46; SLDT, STR, LLDT, LTR: reason 47."""
    name, instruction = exit_.mnemonic, exit_.instruction
    assert instruction is not None
    information = _IDENTITIES[name] << 28
    if instruction.memory is not None:
        information |= operand_information(instruction.memory)
    elif instruction.rm is not None:
        information |= REGISTER_OPERAND | instruction.rm << 3
    if name in _GDTR_OR_IDTR:
        information |= _OPERAND_SIZE_32 if instruction.operand_size == 4 else 0
        reason = abi.EXIT_REASON_GDTR_IDTR_ACCESS
    else:
        reason = abi.EXIT_REASON_LDTR_TR_ACCESS
    return instruction_exit(reason, exit_, displacement(exit_), information=information)
