"""All checks in the SDM's order."""

from collections.abc import Callable, Iterable, Iterator

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.capabilities import VmxCapabilities
from ntsim.hw.vmx.entry import (
    execution_controls,
    exit_entry_controls,
    guest_non_register,
    guest_registers,
    guest_segments,
    host_state,
    later_features,
)
from ntsim.hw.vmx.entry.candidate import Candidate, Violations
from ntsim.hw.vmx.entry.outcome import EntryFailure, EntryMode, Stage, Violation, VmFail
from ntsim.hw.vmx.protocols import Memory, VmcsFields
from ntsim.hw.vmx.results import Entered

_Check = Callable[[Candidate], Violations]
CONTROLS: tuple[_Check, ...] = (
    *execution_controls.CHECKS,
    *later_features.EXECUTION_CHECKS,
    *exit_entry_controls.CHECKS,
    *later_features.EXIT_CHECKS,
)
HOST: tuple[_Check, ...] = (*host_state.CHECKS, *later_features.HOST_CHECKS)
GUEST: tuple[_Check, ...] = (
    *guest_registers.CHECKS,
    *later_features.GUEST_CHECKS,
    *guest_segments.CHECKS,
    *guest_registers.LATER_CHECKS,
    *guest_non_register.CHECKS,
)


def check(
    vmcs: VmcsFields, capabilities: VmxCapabilities, memory: Memory, mode: EntryMode
) -> Entered | VmFail | EntryFailure:
    """How a VM entry with this VMCS ends, up to the loading of MSRs."""
    candidate = Candidate(vmcs, capabilities, memory, mode)
    for error, checks in (
        (abi.VMX_ERROR_ENTRY_INVALID_CONTROLS, CONTROLS),
        (abi.VMX_ERROR_ENTRY_INVALID_HOST_STATE, HOST),
    ):
        violation = next(_violations(candidate, checks), None)
        if violation is not None:
            return VmFail(error, violation)
    return check_guest(candidate) or Entered()


def check_guest(candidate: Candidate) -> EntryFailure | None:
    """The guest-state area alone."""
    violation = next(_violations(candidate, GUEST), None)
    if violation is None:
        return None
    reason = abi.VM_EXIT_REASON_ENTRY_FAILURE | abi.EXIT_REASON_ENTRY_FAIL_INVALID_GUEST_STATE
    return EntryFailure(reason, violation.qualification, violation)


def audit(
    vmcs: VmcsFields, capabilities: VmxCapabilities, memory: Memory, mode: EntryMode
) -> list[Violation]:
    """Everything that is wrong with a VMCS, controls, then host state, then guest state."""
    candidate = Candidate(vmcs, capabilities, memory, mode)
    return list(_violations(candidate, (*CONTROLS, *HOST, *GUEST)))


def stage_of(one: _Check) -> Stage:
    """How an entry ends that breaks a rule of this check."""
    if one in CONTROLS:
        return Stage.CONTROLS
    return Stage.HOST if one in HOST else Stage.GUEST


def _violations(candidate: Candidate, checks: Iterable[_Check]) -> Iterator[Violation]:
    for one in checks:
        yield from one(candidate)
