"""VMLAUNCH and VMRESUME."""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.exits import GuestExit
from ntsim.hw.vmx.instructions.guards import in_root
from ntsim.hw.vmx.results import Entered, VmFailInvalid, VmFailValid, WouldExit
from ntsim.hw.vmx.state import VmxState
from ntsim.hw.vmx.vm_entry import enter

_EXIT_VMLAUNCH = WouldExit(abi.EXIT_REASON_VMLAUNCH)
_EXIT_VMRESUME = WouldExit(abi.EXIT_REASON_VMRESUME)
EntryResult = Entered | GuestExit | VmFailInvalid | VmFailValid | WouldExit


def vmlaunch(state: VmxState) -> EntryResult:
    """VMLAUNCH: the first VM entry with the current VMCS, whose launch state is clear."""
    exits = in_root(state, "VMLAUNCH", _EXIT_VMLAUNCH)
    if exits:
        return exits
    problem = _no_usable_vmcs(state, "VMLAUNCH")
    if problem:
        return problem
    assert state.current is not None
    if state.current.launched:
        return state.fail(
            "VMLAUNCH",
            abi.VMX_ERROR_VMLAUNCH_NOT_CLEAR,
            "the launch state of the current VMCS is not clear",
        )
    return enter(state, "VMLAUNCH")


def vmresume(state: VmxState) -> EntryResult:
    """VMRESUME: a further VM entry with a VMCS that this VMX operation has launched."""
    exits = in_root(state, "VMRESUME", _EXIT_VMRESUME)
    if exits:
        return exits
    problem = _no_usable_vmcs(state, "VMRESUME")
    if problem:
        return problem
    vmcs = state.current
    assert vmcs is not None
    if not vmcs.launched:
        return state.fail(
            "VMRESUME",
            abi.VMX_ERROR_VMRESUME_NOT_LAUNCHED,
            "the launch state of the current VMCS is not launched",
        )
    same_processor = vmcs.launch_session & 0xFF == state.session & 0xFF
    if same_processor and vmcs.launch_session != state.session:
        return state.fail(
            "VMRESUME",
            abi.VMX_ERROR_VMRESUME_AFTER_VMXOFF,
            "VMXOFF and VMXON since the VMCS was launched",
        )
    return enter(state, "VMRESUME")


def _no_usable_vmcs(state: VmxState, instruction: str) -> VmFailInvalid | VmFailValid | None:
    if state.current is None:
        return state.fail_invalid(instruction, "no current VMCS")
    if state.current.is_shadow:
        return state.fail_invalid(instruction, "the current VMCS is a shadow VMCS")
    if state.processor.mov_ss_blocking:
        return state.fail(
            instruction, abi.VMX_ERROR_ENTRY_BLOCKED_BY_MOV_SS, "events are blocked by MOV SS"
        )
    return None
