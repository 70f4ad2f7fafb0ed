"""VMCALL: from a guest to its hypervisor; from the host, to an SMM monitor that is not there."""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.instructions.guards import (
    require_mode,
    require_operation,
    require_ring_0,
)
from ntsim.hw.vmx.results import VmxResult, WouldExit
from ntsim.hw.vmx.state import VmxState

_EXIT_VMCALL = WouldExit(abi.EXIT_REASON_VMCALL)


def vmcall(state: VmxState) -> VmxResult:
    """VMCALL: unlike the others it exits before the processor looks at the guest's mode."""
    require_operation(state, "VMCALL")
    if state.in_non_root:
        return _EXIT_VMCALL
    require_mode(state, "VMCALL")
    require_ring_0(state, "VMCALL")
    return state.fail(
        "VMCALL",
        abi.VMX_ERROR_VMCALL_IN_ROOT,
        "VMX root operation, and IA32_SMM_MONITOR_CTL is not valid",
    )
