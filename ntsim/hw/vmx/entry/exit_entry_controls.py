"""Checks on VM-exit and VM-entry control fields, event injection among them."""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.entry.candidate import Candidate, Section, Violations
from ntsim.hw.vmx.entry.execution_controls import reserved
from ntsim.hw.vmx.interruption import Event, pushes_error_code

_EXIT = Section("VM-Exit Control Fields")
_ENTRY = Section("VM-Entry Control Fields")
_INJECTION = abi.VM_ENTRY_INTR_INFO_FIELD
_ERROR_CODE = abi.VM_ENTRY_EXCEPTION_ERROR_CODE
_LENGTH = abi.VM_ENTRY_INSTRUCTION_LEN
_MSR_ENTRY_BYTES = 16
_LONGEST_INSTRUCTION = 15
_RESERVED_TYPE = 1


def _msr_area(c: Candidate, section: Section, count: int, address: int) -> Violations:
    """An MSR area is 16-byte aligned and lies, with its last byte, within the physical width."""
    entries, start = c.get(count), c.get(address)
    if not entries:
        return
    last = start + entries * _MSR_ENTRY_BYTES - 1
    width = c.capabilities.physical_address_bits
    if start & 0xF or not c.capabilities.within_physical_width(start):
        yield section.violation(
            c, address, "an MSR area is misplaced", f"16-byte aligned, below 2**{width}"
        )
    elif not c.capabilities.within_physical_width(last):
        yield section.violation(
            c, count, f"the area's last byte is at {last:#x}", f"last byte below 2**{width}"
        )


def exit_controls(c: Candidate) -> Violations:
    """Reserved bits, the preemption timer, both MSR areas."""
    field = abi.VM_EXIT_CONTROLS
    yield from reserved(c, _EXIT, field, c.exit, c.capabilities.vm_exit)
    saves_timer = c.exit & abi.VM_EXIT_SAVE_VMX_PREEMPTION_TIMER_VALUE
    if saves_timer and not c.pin & abi.PIN_BASED_ACTIVATE_VMX_PREEMPTION_TIMER:
        yield _EXIT.violation(
            c, field, "saving the preemption timer needs the timer", "bit 22 clear"
        )
    yield from _msr_area(c, _EXIT, abi.VM_EXIT_MSR_STORE_COUNT, abi.VM_EXIT_MSR_STORE_ADDR)
    yield from _msr_area(c, _EXIT, abi.VM_EXIT_MSR_LOAD_COUNT, abi.VM_EXIT_MSR_LOAD_ADDR)


def entry_controls(c: Candidate) -> Violations:
    """Reserved bits, SMM, the MSR area."""
    field = abi.VM_ENTRY_CONTROLS
    yield from reserved(c, _ENTRY, field, c.entry, c.capabilities.vm_entry)
    yield from injection(c)
    yield from _msr_area(c, _ENTRY, abi.VM_ENTRY_MSR_LOAD_COUNT, abi.VM_ENTRY_MSR_LOAD_ADDR)
    smm = abi.VM_ENTRY_TO_SMM | abi.VM_ENTRY_DEACTIVATE_DUAL_MONITOR_TREATMENT
    yield from _ENTRY.zero(c, field, smm, "the processor is not in SMM")


def injection(c: Candidate) -> Violations:
    """The VM-entry interruption-information field, if valid, describes a deliverable event."""
    value = c.get(_INJECTION)
    event = Event.from_field(value, c.get(_ERROR_CODE), c.get(_LENGTH))
    if event is None:
        return
    yield from _event_kind(c, event)
    yield from _event_error_code(c, event, bool(value & abi.INTR_INFO_DELIVER_ERROR_CODE))
    yield from _ENTRY.zero(c, _INJECTION, 0x7FFF_F000, "bits 30:12 are reserved")
    if value & abi.INTR_INFO_DELIVER_ERROR_CODE:
        yield from _ENTRY.zero(c, _ERROR_CODE, 0xFFFF_0000, "an error code has 16 bits")
    if event.is_software:
        shortest = 0 if c.capabilities.misc.injects_zero_length else 1
        if not shortest <= event.instruction_length <= _LONGEST_INSTRUCTION:
            yield _ENTRY.violation(
                c, _LENGTH, "no instruction has that length", f"{shortest} to 15"
            )


def _event_kind(c: Candidate, event: Event) -> Violations:
    if event.kind == _RESERVED_TYPE:
        yield _ENTRY.violation(c, _INJECTION, "type 1 is reserved", "types 0 and 2 to 7")
    mtf = c.capabilities.primary.may_be_one & abi.CPU_BASED_MONITOR_TRAP_FLAG
    if event.kind == abi.INTR_TYPE_OTHER_EVENT and not mtf:
        yield _ENTRY.violation(
            c, _INJECTION, "type 7 needs the monitor trap flag", "types 0 and 2 to 6"
        )
    if event.kind == abi.INTR_TYPE_NMI and event.vector != 2:
        yield _ENTRY.violation(c, _INJECTION, "an NMI has vector 2", "vector 2")
    if event.kind == abi.INTR_TYPE_HARDWARE_EXCEPTION and event.vector > 31:
        yield _ENTRY.violation(c, _INJECTION, "a hardware exception", "vectors 0 to 31")
    if event.kind == abi.INTR_TYPE_OTHER_EVENT and event.vector:
        yield _ENTRY.violation(c, _INJECTION, "type 7 is a pending MTF VM exit", "vector 0")


def _event_error_code(c: Candidate, event: Event, delivers: bool) -> Violations:
    protected = not c.unrestricted or bool(c.get(abi.GUEST_CR0) & abi.CR0_PE)
    hardware = event.kind == abi.INTR_TYPE_HARDWARE_EXCEPTION
    expected = protected and hardware and pushes_error_code(event.vector)
    if protected and hardware and c.capabilities.any_error_code:
        return
    if delivers != expected:
        yield _ENTRY.violation(
            c,
            _INJECTION,
            f"vector {event.vector} of type {event.kind} here has "
            f"{'an' if expected else 'no'} error code",
            f"bit 11 {'set' if expected else 'clear'}",
        )


CHECKS = (exit_controls, entry_controls)
