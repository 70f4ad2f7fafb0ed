"""VMCLEAR, VMPTRLD, VMPTRST: which VMCS is active and which is current."""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.events import (
    VmcsActiveElsewhere,
    VmcsCleared,
    VmcsLoaded,
    VmcsNeverCleared,
    VmcsRegionWritten,
)
from ntsim.hw.vmx.instructions.guards import in_root
from ntsim.hw.vmx.results import VmxResult, WouldExit
from ntsim.hw.vmx.state import VmxState
from ntsim.hw.vmx.vmcs import Vmcs, clear_region, peek, revision_at

_EXIT_VMCLEAR = WouldExit(abi.EXIT_REASON_VMCLEAR, instruction_length=4)
_EXIT_VMPTRLD = WouldExit(abi.EXIT_REASON_VMPTRLD)
_EXIT_VMPTRST = WouldExit(abi.EXIT_REASON_VMPTRST)


def vmclear(state: VmxState, pointer: int) -> VmxResult:
    """VMCLEAR m64: put the VMCS into its region and make its launch state clear.

    It looks at no revision identifier, and at nothing else in the region.
    """
    exits = in_root(state, "VMCLEAR", _EXIT_VMCLEAR)
    if exits:
        return exits
    if not state.capabilities.is_page(pointer):
        return state.fail("VMCLEAR", abi.VMX_ERROR_VMCLEAR_INVALID_ADDRESS, _bad_pointer(pointer))
    if pointer == state.vmxon_pointer:
        return state.fail(
            "VMCLEAR", abi.VMX_ERROR_VMCLEAR_VMXON_POINTER, f"{pointer:#x} is the VMXON pointer"
        )
    _report_elsewhere(state, pointer, "VMCLEAR")
    vmcs = state.active.get(pointer)
    if vmcs is None:
        clear_region(state.processor.memory, pointer)
    else:
        vmcs.launched, vmcs.launch_session = False, 0
        release(state, vmcs)
    if state.current is vmcs:
        state.current = None
    state.observer(VmcsCleared(state.processor.number, pointer))
    return state.succeed()


def vmptrld(state: VmxState, pointer: int) -> VmxResult:
    """VMPTRLD m64: make the VMCS at `pointer` active, and current."""
    exits = in_root(state, "VMPTRLD", _EXIT_VMPTRLD)
    if exits:
        return exits
    if not state.capabilities.is_page(pointer):
        return state.fail("VMPTRLD", abi.VMX_ERROR_VMPTRLD_INVALID_ADDRESS, _bad_pointer(pointer))
    if pointer == state.vmxon_pointer:
        return state.fail(
            "VMPTRLD", abi.VMX_ERROR_VMPTRLD_VMXON_POINTER, f"{pointer:#x} is the VMXON pointer"
        )
    problem = _revision_problem(state, pointer)
    if problem:
        return state.fail("VMPTRLD", abi.VMX_ERROR_VMPTRLD_INCORRECT_REVISION, problem)
    state.current = state.active.get(pointer) or activate(state, pointer)
    state.observer(VmcsLoaded(state.processor.number, pointer))
    return state.succeed()


def vmptrst(state: VmxState) -> VmxResult:
    """VMPTRST m64: VmSucceed.value is the current-VMCS pointer, all ones if there is none."""
    exits = in_root(state, "VMPTRST", _EXIT_VMPTRST)
    return exits or state.succeed(state.current_pointer)


def release(state: VmxState, vmcs: Vmcs) -> None:
    """Write the VMCS back; it is no longer active on this processor."""
    write_back(state, vmcs)
    del state.active[vmcs.address]
    state.directory.remove(vmcs.address, state.processor.number)


def write_back(state: VmxState, vmcs: Vmcs) -> None:
    """Put the on-chip copy into the region, and report what software had written there."""
    changed = vmcs.write_back(state.processor.memory)
    if changed is not None:
        state.observer(VmcsRegionWritten(state.processor.number, vmcs.address, changed))


def activate(state: VmxState, pointer: int) -> Vmcs:
    """Take the VMCS over from its region."""
    processor, layout = state.processor, state.directory.layout
    _report_elsewhere(state, pointer, "VMPTRLD")
    vmcs = Vmcs(pointer, layout, peek(processor.memory, pointer, layout.size))
    if not vmcs.cleared:
        state.observer(VmcsNeverCleared(processor.number, pointer))
    state.directory.add(pointer, processor.number)
    state.active[pointer] = vmcs
    return vmcs


def _report_elsewhere(state: VmxState, pointer: int, instruction: str) -> None:
    number = state.processor.number
    holder = state.directory.active_elsewhere(pointer, number)
    if holder is not None:
        state.observer(VmcsActiveElsewhere(number, pointer, holder, instruction))


def _revision_problem(state: VmxState, pointer: int) -> str | None:
    revision = revision_at(state.processor.memory, pointer)
    wanted = state.capabilities.revision_id
    if revision & abi.VMCS_REVISION_MASK != wanted:
        return f"revision identifier {revision:#x} in the region, not {wanted:#x}"
    if (
        revision & abi.VMCS_SHADOW_INDICATOR
        and not state.capabilities.secondary.may_be_one & abi.SECONDARY_VMCS_SHADOWING
    ):
        return "the region is a shadow VMCS and the processor has no VMCS shadowing"
    return None


def _bad_pointer(pointer: int) -> str:
    return f"{pointer:#x} is not 4-KByte aligned or beyond the physical-address width"
