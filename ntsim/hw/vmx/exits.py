"""A VM exit that has taken place, and the making of one."""

from dataclasses import dataclass

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx import msr_areas, preemption_timer
from ntsim.hw.vmx.entry.outcome import Violation
from ntsim.hw.vmx.events import VmExited, VmxAborted
from ntsim.hw.vmx.exit_information import ExitInformation, record_entry_failure
from ntsim.hw.vmx.state import VmxMode, VmxState
from ntsim.hw.vmx.transition import load_host, save_guest
from ntsim.hw.vmx.vmcs import ABORT_OFFSET, Vmcs, poke

ABORT_STORE_MSR, ABORT_LOAD_MSR = 1, 4


@dataclass(slots=True)
class GuestExit:
    """The processor is in root operation with the host's state; the VMCS says why.

    `reason` is field 4402H whole: bit 31 marks a failed VM entry, whose broken rule is `violation`.
    `aborted` is the VMX-abort indicator if the processor could not complete the exit and has shut
    down; 0 otherwise.
    """

    reason: int
    qualification: int
    rip: int
    violation: Violation | None = None
    aborted: int = 0

    @property
    def basic_reason(self) -> int:
        """Bits 15:0."""
        return self.reason & 0xFFFF

    @property
    def entry_failed(self) -> bool:
        """The guest executed nothing."""
        return bool(self.reason & abi.VM_EXIT_REASON_ENTRY_FAILURE)


def perform(state: VmxState, information: ExitInformation) -> GuestExit:
    """VM exit from non-root operation: record, save the guest, store MSRs, load the host."""
    assert state.in_non_root, f"{state.processor}: VM exit {information.reason} outside a guest"
    vmcs, processor = _current(state), state.processor
    guest_rip = processor.rip
    information.record(vmcs)
    save_guest(processor, vmcs, state.activity, state.interruptibility, state.pending_debug)
    if state.timer_deadline is not None:
        preemption_timer.save(processor, vmcs, state.capabilities.misc, state.timer_deadline)
    count = vmcs.values[abi.VM_EXIT_MSR_STORE_COUNT]
    failed = count and msr_areas.store(processor, vmcs.get(abi.VM_EXIT_MSR_STORE_ADDR), count)
    aborted = _abort(state, ABORT_STORE_MSR, f"MSR-store entry {failed}") if failed else 0
    aborted = aborted or _to_host(state, vmcs)
    reason, qualification = information.reason, information.qualification
    if state.report_passages:
        number, why = processor.number, information.why
        state.observer(VmExited(number, vmcs.address, reason, qualification, guest_rip, why))
    return GuestExit(reason, qualification, guest_rip, None, aborted)


def fail_entry(
    state: VmxState, reason: int, qualification: int, violation: Violation | None, why: str
) -> GuestExit:
    """A VM entry failed after the checks of controls and host state: an exit that saves nothing."""
    vmcs, processor = _current(state), state.processor
    rip = vmcs.get(abi.GUEST_RIP)
    record_entry_failure(vmcs, reason, qualification)
    aborted = _to_host(state, vmcs)
    whole = abi.VM_EXIT_REASON_ENTRY_FAILURE | reason
    state.observer(VmExited(processor.number, vmcs.address, whole, qualification, rip, why))
    return GuestExit(whole, qualification, rip, violation, aborted)


def _to_host(state: VmxState, vmcs: Vmcs) -> int:
    """Load the host's state and MSRs; the abort indicator if that is impossible."""
    load_host(state.processor, vmcs)
    state.mode = VmxMode.ROOT
    state.leave_guest()
    count = vmcs.values[abi.VM_EXIT_MSR_LOAD_COUNT]
    failed = count and msr_areas.load(state.processor, vmcs.get(abi.VM_EXIT_MSR_LOAD_ADDR), count)
    return _abort(state, ABORT_LOAD_MSR, f"MSR-load entry {failed}") if failed else 0


def _abort(state: VmxState, indicator: int, reason: str) -> int:
    """SDM 3, "VMX Aborts": write the indicator and shut the processor down."""
    vmcs = _current(state)
    poke(state.processor.memory, vmcs.address + ABORT_OFFSET, indicator.to_bytes(4, "little"))
    state.processor.halted = True
    state.mode = VmxMode.ROOT
    state.observer(VmxAborted(state.processor.number, vmcs.address, indicator, reason))
    return indicator


def _current(state: VmxState) -> Vmcs:
    assert state.current is not None, f"{state.processor}: no current VMCS"
    return state.current
