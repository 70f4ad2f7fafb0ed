"""Making the information of a VM exit out of what stopped the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.hw.vmx.exit_information import ExitInformation, often

if TYPE_CHECKING:
    from ntsim.hw.engine import Exit, MemoryOperand

_SEGMENT_NUMBERS = {"es": 0, "cs": 1, "ss": 2, "ds": 3, "fs": 4, "gs": 5}
_ADDRESS_SIZES = {2: 0, 4: 1, 8: 2}
_SCALES = {1: 0, 2: 1, 4: 2, 8: 3}
_INDEX_INVALID, _BASE_INVALID = 1 << 22, 1 << 27
REGISTER_OPERAND = 1 << 10


def instruction_exit(
    reason: int,
    exit_: Exit,
    qualification: int = 0,
    *,
    information: int = 0,
    linear: int = 0,
) -> ExitInformation:
    """A VM exit caused by the instruction at which the engine stopped."""
    length = exit_.instruction_length
    if not (qualification or information or linear):
        return often(reason, length)
    return ExitInformation(reason, qualification, length, information, None, None, linear)


def operand_information(operand: MemoryOperand) -> int:
    """Bits of the VM-exit instruction-information field that describe a memory operand.

    SDM 3, "Information for VM Exits Due to Instruction Execution": 1:0 scaling, 9:7 address size,
    10 clear, 17:15 segment, 21:18 index register, 22 no index, 26:23 base register, 27 no base.
    """
    found = _SCALES[operand.scale] | _ADDRESS_SIZES[operand.size] << 7
    found |= _SEGMENT_NUMBERS[operand.segment] << 15
    found |= _INDEX_INVALID if operand.index is None else operand.index << 18
    found |= _BASE_INVALID if operand.base is None else operand.base << 23
    return found


def displacement(exit_: Exit) -> int:
    """The exit qualification of an instruction with a memory operand: its displacement.

    For a RIP-relative operand that is the displacement plus the address of the next instruction.
    """
    instruction = exit_.instruction
    assert instruction is not None
    if instruction.memory is None:
        return 0
    found = instruction.memory.displacement
    if instruction.memory.relative:
        found += exit_.rip + instruction.length
    return found & 0xFFFF_FFFF_FFFF_FFFF
