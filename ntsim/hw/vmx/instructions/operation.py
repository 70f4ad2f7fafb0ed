"""VMXON and VMXOFF: entering and leaving VMX operation."""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.exceptions import general_protection
from ntsim.hw.vmx.events import VmcsLeftActive, VmxOperationEntered, VmxOperationLeft
from ntsim.hw.vmx.instructions.guards import (
    in_root,
    require_mode,
    require_ring_0,
    require_vmxe,
)
from ntsim.hw.vmx.instructions.pointers import release
from ntsim.hw.vmx.results import VmxResult, WouldExit
from ntsim.hw.vmx.state import VmxMode, VmxState
from ntsim.hw.vmx.vmcs import NO_POINTER, revision_at

_EXIT_VMXOFF = WouldExit(abi.EXIT_REASON_VMXOFF)
_EXIT_VMXON = WouldExit(abi.EXIT_REASON_VMXON, instruction_length=4)


def vmxon(state: VmxState, pointer: int) -> VmxResult:
    """VMXON m64: enter VMX root operation with the region at `pointer`."""
    require_mode(state, "VMXON")
    require_vmxe(state, "VMXON")
    if state.in_non_root:
        return _EXIT_VMXON
    require_ring_0(state, "VMXON")
    if state.in_operation:
        return state.fail(
            "VMXON", abi.VMX_ERROR_VMXON_IN_ROOT, "the processor is in VMX root operation already"
        )
    _require_supported_mode(state)
    problem = _region_problem(state, pointer)
    if problem:
        return state.fail_invalid("VMXON", problem)
    _enter(state, pointer)
    return state.succeed()


def vmxoff(state: VmxState) -> VmxResult:
    """VMXOFF: leave VMX operation.

    What silicon does with VMCSs that are still active is undefined. Here their data and launch
    state go to their regions, so a later VMRESUME finds one that an earlier operation launched.
    """
    exits = in_root(state, "VMXOFF", _EXIT_VMXOFF)
    if exits:
        return exits
    for vmcs in list(state.active.values()):
        state.observer(VmcsLeftActive(state.processor.number, vmcs.address))
        release(state, vmcs)
    state.current = None
    state.mode = VmxMode.OFF
    state.vmxon_pointer = NO_POINTER
    state.observer(VmxOperationLeft(state.processor.number))
    return state.succeed()


def _require_supported_mode(state: VmxState) -> None:
    """#GP(0): CR0 and CR4 must hold what VMX operation fixes, and firmware must allow VMXON."""
    processor, capabilities = state.processor, state.capabilities
    for name, value, fixed in (
        ("CR0", processor.cr0, capabilities.cr0),
        ("CR4", processor.cr4, capabilities.cr4),
    ):
        if not fixed.allows(value):
            bits = fixed.missing(value) | fixed.excess(value)
            raise general_protection(f"VMXON with {name} = {value:#x}: VMX fixes bits {bits:#x}")
    control = processor.rdmsr(abi.IA32_FEATURE_CONTROL)
    if not control & abi.FEATURE_CONTROL_LOCK:
        raise general_protection("VMXON with IA32_FEATURE_CONTROL unlocked")
    if not control & abi.FEATURE_CONTROL_VMXON_OUTSIDE_SMX:
        raise general_protection("VMXON with VMX outside SMX disabled in IA32_FEATURE_CONTROL")


def _region_problem(state: VmxState, pointer: int) -> str | None:
    capabilities = state.capabilities
    if not capabilities.is_page(pointer):
        return f"VMXON pointer {pointer:#x} is unaligned or beyond the physical-address width"
    revision = revision_at(state.processor.memory, pointer)
    if revision & abi.VMCS_SHADOW_INDICATOR or revision != capabilities.revision_id:
        return f"revision identifier {revision:#x} in the region, not {capabilities.revision_id:#x}"
    return None


def _enter(state: VmxState, pointer: int) -> None:
    count = (state.session >> 8) + 1
    state.session = count << 8 | state.processor.number & 0xFF
    state.mode = VmxMode.ROOT
    state.vmxon_pointer = pointer
    state.current = None
    state.observer(VmxOperationEntered(state.processor.number, pointer))
