"""The checks that VMX instructions begin with: #UD, VM exit in a guest, #GP(0) above ring 0."""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.cpu import CS_RIGHTS_15_8
from ntsim.hw.exceptions import general_protection, invalid_opcode
from ntsim.hw.vmx.results import WouldExit
from ntsim.hw.vmx.state import VmxMode, VmxState

_ROOT = VmxMode.ROOT
_L_OF_15_8, _PE, _VM = abi.ACCESS_RIGHTS_L >> 8, abi.CR0_PE, abi.RFLAGS_VM


def require_mode(state: VmxState, instruction: str) -> None:
    """#UD in real-address, virtual-8086 and compatibility mode."""
    processor = state.processor
    if not processor.cr0 & abi.CR0_PE:
        raise invalid_opcode(f"{instruction} in real-address mode")
    if processor.rflags & abi.RFLAGS_VM:
        raise invalid_opcode(f"{instruction} in virtual-8086 mode")
    if processor.efer & abi.EFER_LMA and not processor.cs.access_rights & abi.ACCESS_RIGHTS_L:
        raise invalid_opcode(f"{instruction} in compatibility mode")


def require_vmxe(state: VmxState, instruction: str) -> None:
    """#UD where CR4.VMXE is 0."""
    if not state.processor.cr4 & abi.CR4_VMXE:
        raise invalid_opcode(f"{instruction} with CR4.VMXE = 0")


def require_operation(state: VmxState, instruction: str) -> None:
    """#UD outside VMX operation."""
    if not state.in_operation:
        raise invalid_opcode(f"{instruction} outside VMX operation")


def require_ring_0(state: VmxState, instruction: str) -> None:
    """#GP(0) at CPL 1 to 3."""
    if state.processor.cpl:
        raise general_protection(f"{instruction} at CPL {state.processor.cpl}")


def in_root_ring_0(state: VmxState) -> bool:
    """64-bit ring-0 code in VMX root operation: what VMX instructions are meant for."""
    processor = state.processor
    return (
        state.mode is _ROOT
        and not processor.cpl
        and processor.segments[CS_RIGHTS_15_8] & _L_OF_15_8 != 0
        and processor.cr0 & _PE != 0
        and not processor.rflags & _VM
    )


def in_root(state: VmxState, instruction: str, exit_in_guest: WouldExit) -> WouldExit | None:
    """The common beginning; None if the instruction may go on in root operation."""
    if in_root_ring_0(state):
        return None
    require_operation(state, instruction)
    require_mode(state, instruction)
    if state.in_non_root:
        return exit_in_guest
    require_ring_0(state, instruction)
    return None
