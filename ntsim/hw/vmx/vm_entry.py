"""A VM entry: checks, guest state, MSRs, the launch state, the event to inject."""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx import msr_areas
from ntsim.hw.vmx.entry import EntryFailure, VmFail
from ntsim.hw.vmx.events import VmEntered, VmEntryUsedUnwritten
from ntsim.hw.vmx.exits import GuestExit, fail_entry
from ntsim.hw.vmx.interruption import Event
from ntsim.hw.vmx.protocols import VmcsFields
from ntsim.hw.vmx.recheck import checked
from ntsim.hw.vmx.results import ENTERED, Entered, VmFailInvalid, VmFailValid
from ntsim.hw.vmx.state import VmxState
from ntsim.hw.vmx.transition import LOADED_FIELDS, load_guest
from ntsim.hw.vmx.unwritten import RecordingFields
from ntsim.hw.vmx.vmcs import Vmcs


def enter(state: VmxState, instruction: str) -> Entered | GuestExit | VmFailInvalid | VmFailValid:
    """Everything after the checks of VMLAUNCH and VMRESUME themselves."""
    vmcs = state.current
    assert vmcs is not None
    fields: VmcsFields = vmcs if vmcs.launched else RecordingFields(vmcs)
    outcome = checked(state, vmcs, fields)
    if isinstance(outcome, VmFail):
        return state.fail(instruction, outcome.error, str(outcome.violation))
    if isinstance(outcome, EntryFailure):
        violation = outcome.violation
        reason, qualification = outcome.reason & 0xFFFF, outcome.qualification
        return fail_entry(state, reason, qualification, violation, str(violation))
    return _load(state, vmcs, fields, instruction)


def _load(state: VmxState, vmcs: Vmcs, fields: VmcsFields, instruction: str) -> Entered | GuestExit:
    processor, values = state.processor, vmcs.values
    load_guest(processor, vmcs)
    count = values[abi.VM_ENTRY_MSR_LOAD_COUNT]
    failed = count and msr_areas.load(processor, vmcs.get(abi.VM_ENTRY_MSR_LOAD_ADDR), count)
    if failed:
        reason = abi.EXIT_REASON_ENTRY_FAIL_MSR_LOADING
        return fail_entry(state, reason, failed, None, f"MSR-load entry {failed} is refused")
    launching = not vmcs.launched
    if launching:
        _report_unwritten(state, fields)
    vmcs.launched, vmcs.launch_session = True, state.session
    injects = values[abi.VM_ENTRY_INTR_INFO_FIELD] & abi.INTR_INFO_VALID
    state.enter_guest(vmcs, _injected(values) if injects else None, launching=launching)
    if state.report_passages:
        state.observer(VmEntered(processor.number, vmcs.address, instruction, processor.rip))
    return ENTERED


def _report_unwritten(state: VmxState, fields: VmcsFields) -> None:
    """`fields` is what has recorded the fields that the checks asked for."""
    assert isinstance(fields, RecordingFields)
    fields.asked.update(LOADED_FIELDS)
    unwritten = fields.unwritten()
    if unwritten:
        number = state.processor.number
        state.observer(VmEntryUsedUnwritten(number, fields.address, unwritten))


def _injected(values: dict[int, int]) -> Event | None:
    return Event.from_field(
        values[abi.VM_ENTRY_INTR_INFO_FIELD],
        values[abi.VM_ENTRY_EXCEPTION_ERROR_CODE],
        values[abi.VM_ENTRY_INSTRUCTION_LEN],
    )
