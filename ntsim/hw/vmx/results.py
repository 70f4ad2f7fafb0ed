"""How a VMX instruction can end, other than in an exception.

SDM 3, "VMX Instruction Reference", "Conventions": VMsucceed clears CF, PF, AF, ZF, SF and OF;
VMfailInvalid sets CF alone; VMfailValid sets ZF alone and writes an error number to the current
VMCS's VM-instruction error field.
"""

from dataclasses import dataclass
from typing import TypeAlias

from ntsim.abi import vmx_constants as abi

ARITHMETIC_FLAGS = (
    abi.RFLAGS_CF | abi.RFLAGS_PF | abi.RFLAGS_AF | abi.RFLAGS_ZF | abi.RFLAGS_SF | abi.RFLAGS_OF
)


@dataclass(slots=True)
class VmSucceed:
    """The instruction did its work; `value` is what VMREAD or VMPTRST read."""

    value: int = 0


@dataclass(slots=True)
class VmFailInvalid:
    """No current VMCS to write an error number to; `reason` is for people."""

    reason: str


@dataclass(slots=True)
class VmFailValid:
    """`error` is in field 4400H; `reason` is for people."""

    error: int
    reason: str


@dataclass(frozen=True, slots=True)
class WouldExit:
    """Executed in VMX non-root operation: the instruction did nothing and a VM exit is due.

    Give it to `VmxUnit.exit`. The information fields are those of the compiled intrinsic: a memory
    operand at [RCX] with no displacement, or registers.
    """

    reason: int
    qualification: int = 0
    instruction_length: int = 3
    instruction_information: int = 0


@dataclass(slots=True)
class Entered:
    """VMLAUNCH or VMRESUME succeeded: the processor holds the guest's state."""


VmxResult: TypeAlias = VmSucceed | VmFailInvalid | VmFailValid | WouldExit

SUCCESS, ENTERED = VmSucceed(), Entered()


def intrinsic_status(result: object) -> int:
    """What MSVC's __vmx_* return: 0 success, 1 VMfailValid, 2 VMfailInvalid.

    A VM entry, successful or failed late, never comes back to the intrinsic and has no status.
    """
    if isinstance(result, VmSucceed):
        return 0
    if isinstance(result, VmFailValid):
        return 1
    assert isinstance(result, VmFailInvalid), f"{result} does not return to the instruction"
    return 2


def flags_after(rflags: int, result: VmSucceed | VmFailInvalid | VmFailValid) -> int:
    """RFLAGS with the six arithmetic flags as the result leaves them."""
    rflags &= ~ARITHMETIC_FLAGS
    if isinstance(result, VmFailInvalid):
        return rflags | abi.RFLAGS_CF
    return rflags | abi.RFLAGS_ZF if isinstance(result, VmFailValid) else rflags


def result_of_flags(rflags: int) -> VmSucceed | VmFailInvalid | VmFailValid:
    """What RFLAGS say of a VMX instruction that somebody else, a hypervisor, has carried out."""
    if rflags & abi.RFLAGS_CF:
        return VmFailInvalid("as the hypervisor says")
    return VmFailValid(0, "as the hypervisor says") if rflags & abi.RFLAGS_ZF else SUCCESS
