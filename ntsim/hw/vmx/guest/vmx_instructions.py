"""VMX instructions executed by a guest: most of them a VM exit each."""

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
from ntsim.hw.vmx.guest.state import RFLAGS, Guest
from ntsim.hw.vmx.instructions import shadow
from ntsim.hw.vmx.instructions.guards import require_mode
from ntsim.hw.vmx.instructions.vmfunc import vmfunc
from ntsim.hw.vmx.protocols import RAX, RCX
from ntsim.hw.vmx.results import VmSucceed, VmxResult, WouldExit, flags_after

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
    """VMCALL exits in every mode, the others where they are not #UD.

    VMREAD and VMWRITE may go to a shadow VMCS, VMFUNC may do its work without an exit.
    """
    name = exit_.mnemonic
    if name == "vmfunc":
        return _vmfunc(guest, exit_)
    if name != "vmcall":
        guest.refresh_code_segment()
        require_mode(guest.vmx, name.upper())
    shadowing = name in ("vmread", "vmwrite") and guest.secondary & abi.SECONDARY_VMCS_SHADOWING
    if shadowing and _shadowed(guest, exit_):
        return None
    instruction = exit_.instruction
    assert instruction is not None
    information = 0
    if instruction.memory is not None:
        information = operand_information(instruction.memory)
    elif instruction.rm is not None:
        information = REGISTER_OPERAND | instruction.rm << _FIRST_REGISTER_SHIFT
    if name in ("vmread", "vmwrite", "invept", "invvpid"):
        information |= instruction.register << _SECOND_REGISTER_SHIFT
    return instruction_exit(_REASONS[name], exit_, displacement(exit_), information=information)


def _vmfunc(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """VMFUNC in any mode and ring: another EPT pointer, or an exit."""
    vmx, words = guest.vmx, guest.words
    guest.store()
    if isinstance(vmfunc(vmx, words[RAX], words[RCX]), WouldExit):
        return instruction_exit(abi.EXIT_REASON_VMFUNC, exit_)
    guest.take_new_controls()
    guest.skip(exit_)
    return None


def _shadowed(guest: Guest, exit_: Exit) -> bool:
    """Whether the shadow VMCS has been read or written instead of an exit."""
    instruction, words, mask = exit_.instruction, guest.words, guest.operand_mask
    assert instruction is not None
    guest.store()
    encoding, size = words[instruction.register] & mask, 8 if guest.is_64_bit else 4
    result: VmxResult | None
    if exit_.mnemonic == "vmwrite":
        if instruction.rm is not None:
            value = words[instruction.rm] & mask
        else:
            value = guest.memory.read_int(exit_.operand_address(), size)
        result = shadow.write(guest.vmx, encoding, value)
    else:
        result = shadow.read(guest.vmx, encoding)
    if result is None or isinstance(result, WouldExit):
        return False
    if isinstance(result, VmSucceed) and exit_.mnemonic == "vmread":
        if instruction.rm is not None:
            words[instruction.rm] = result.value & mask
        else:
            data = (result.value & mask).to_bytes(size, "little")
            guest.memory.write(exit_.operand_address(), data)
    words[RFLAGS] = flags_after(words[RFLAGS], result)
    guest.skip(exit_)
    return True
