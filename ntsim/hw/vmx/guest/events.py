"""Events in a guest: which exit, which go through its IDT, and what double and triple faults are.

Source: SDM 3, "Other Causes of VM Exits" (exceptions, triple fault), "Information for VM Exits Due
to Vectored Events", "Information About VM Exits That Occur During Event Delivery"; the table of
double-fault conditions in "Interrupt 8—Double Fault Exception (#DF)".
"""

from __future__ import annotations

from ntsim.abi import vmx_constants as abi
from ntsim.hw.exceptions import ProcessorException
from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.guest.delivery import TaskSwitch, deliver, pushed_flags
from ntsim.hw.vmx.guest.ept import EptFault
from ntsim.hw.vmx.guest.memory import GuestMemory
from ntsim.hw.vmx.guest.state import Guest
from ntsim.hw.vmx.guest.virtualization_exceptions import recorded
from ntsim.hw.vmx.interruption import Event
from ntsim.hw.vmx.state import VmxState

_CONTRIBUTORY = frozenset(
    {abi.VECTOR_DE, abi.VECTOR_TS, abi.VECTOR_NP, abi.VECTOR_SS, abi.VECTOR_GP}
)
_PAGE_FAULTS = frozenset({abi.VECTOR_PF, abi.VECTOR_VE})
_EXCEPTION_KINDS = (
    abi.INTR_TYPE_HARDWARE_EXCEPTION,
    abi.INTR_TYPE_SOFTWARE_EXCEPTION,
    abi.INTR_TYPE_PRIVILEGED_SOFTWARE_EXCEPTION,
)
_FINAL = 1 << 7 | 1 << 8
"""Of a qualification: the linear address is valid, and its own page is meant."""

DR6_BS = 1 << 14
_DR7_GENERAL_DETECT = 1 << 13
_TASK_GATE_IN_IDT = 3 << 30


def event_of(fault: ProcessorException) -> Event:
    """A fault raised by Python, as the event it is."""
    return Event.exception(fault.vector, fault.error_code)


def raise_event(
    guest: Guest, event: Event, address: int = 0, during: Event | None = None
) -> ExitInformation | None:
    """An exception, software interrupt or injected event happens at the guest's RIP.

    A VM exit if the exception bitmap says so; else it is delivered, and None. `address` is the
    linear address of a page fault, or the DR6 bits of a debug exception; `during` is the event
    whose delivery raised this one.
    """
    information = intercepted(guest, event, address, during)
    if information is not None:
        return information
    if during is not None:
        combined = _combine(during, event)
        if combined is None:
            why = f"vector {event.vector} while delivering vector {during.vector}"
            return ExitInformation(abi.EXIT_REASON_TRIPLE_FAULT, why=f"triple fault: {why}")
        if combined is not event:
            event = combined
            if _exits(guest, event):
                return _exception_exit(guest, event, 0, None)
    _record_cause(guest, event, address)
    return inject(guest, event)


def inject(guest: Guest, event: Event) -> ExitInformation | None:
    """Deliver without asking the exception bitmap, as for an event that VM entry injects."""
    try:
        deliver(guest, event)
    except ProcessorException as fault:
        return raise_event(guest, event_of(fault), fault.address, during=event)
    except EptFault as fault:
        return ept_exit(guest, fault, during=event)
    except TaskSwitch as switch:
        registers = guest.registers
        registers.rflags = pushed_flags(registers.rflags, event)
        qualification = switch.selector | _TASK_GATE_IN_IDT
        return ExitInformation(abi.EXIT_REASON_TASK_SWITCH, qualification, vectoring=event)
    guest.end_interrupt_shadow()
    guest.vmx.activity = abi.ACTIVITY_STATE_ACTIVE
    return None


def ept_exit(guest: Guest, fault: EptFault, during: Event | None = None) -> ExitInformation:
    """EPT violation or misconfiguration.

    RF is saved as 1, or as the frame would have it whose delivery was interrupted (SDM 3, "Saving
    RIP, RSP, RFLAGS, and SSP").
    """
    add_page_rights(guest.memory, guest.vmx, fault)
    registers = guest.registers
    if during is None:
        registers.rflags |= abi.RFLAGS_RF
    else:
        registers.rflags = pushed_flags(registers.rflags, during)
    return ept_information(fault, during)


def add_page_rights(memory: GuestMemory, vmx: VmxState, fault: EptFault) -> None:
    """Bits 11:9 of the qualification, on processors that have them."""
    said = fault.qualification or 0
    if said & _FINAL == _FINAL and vmx.capabilities.ept_vpid.advanced_information:
        fault.qualification = said | memory.page_rights(fault.linear) << 9


def ept_event(guest: Guest, fault: EptFault) -> ExitInformation | None:
    """What EPT does not allow, outside event delivery: an exit, or a virtualization exception."""
    add_page_rights(guest.memory, guest.vmx, fault)
    if recorded(guest.vmx, guest.secondary, guest.processor.cr0, fault):
        return raise_event(guest, Event.exception(abi.VECTOR_VE))
    return ept_exit(guest, fault)


def ept_information(fault: EptFault, during: Event | None = None) -> ExitInformation:
    """EPT violation, EPT misconfiguration, or page-modification log full."""
    if fault.log_full:
        return ExitInformation(abi.EXIT_REASON_PML_FULL, vectoring=during)
    if fault.qualification is None:
        return ExitInformation(
            abi.EXIT_REASON_EPT_MISCONFIGURATION,
            vectoring=during,
            guest_physical_address=fault.address,
        )
    return ExitInformation(
        abi.EXIT_REASON_EPT_VIOLATION,
        fault.qualification,
        vectoring=during,
        guest_linear_address=fault.linear,
        guest_physical_address=fault.address,
    )


def intercepted(
    guest: Guest, event: Event, address: int = 0, during: Event | None = None
) -> ExitInformation | None:
    """The VM exit if the exception bitmap takes the event."""
    return _exception_exit(guest, event, address, during) if _exits(guest, event) else None


def _exits(guest: Guest, event: Event) -> bool:
    """The exception bitmap; for a page fault with its error code's mask and match."""
    if event.kind not in _EXCEPTION_KINDS:
        return False
    chosen = bool(guest.get(abi.EXCEPTION_BITMAP) >> event.vector & 1)
    if event.vector != abi.VECTOR_PF or event.kind != abi.INTR_TYPE_HARDWARE_EXCEPTION:
        return chosen
    masked = (event.error_code or 0) & guest.get(abi.PAGE_FAULT_ERROR_CODE_MASK)
    return (masked == guest.get(abi.PAGE_FAULT_ERROR_CODE_MATCH)) == chosen


def _exception_exit(
    guest: Guest, event: Event, address: int, during: Event | None
) -> ExitInformation:
    """CR2 and DR6 stay as they are; the qualification has what they would have got."""
    qualification = address if event.vector in (abi.VECTOR_PF, abi.VECTOR_DB) else 0
    if event.kind == abi.INTR_TYPE_HARDWARE_EXCEPTION and event.vector != abi.VECTOR_DB:
        guest.registers.rflags |= abi.RFLAGS_RF  # as in the image that delivery would push
    return ExitInformation(
        abi.EXIT_REASON_EXCEPTION_OR_NMI,
        qualification,
        instruction_length=event.instruction_length if event.is_software else 0,
        event=event,
        vectoring=during,
    )


def _combine(first: Event, second: Event) -> Event | None:
    """What the second event becomes: itself, a double fault, or (None) a triple fault."""
    if first.kind != abi.INTR_TYPE_HARDWARE_EXCEPTION:
        return second
    faults = second.vector in _CONTRIBUTORY or second.vector in _PAGE_FAULTS
    if first.vector == abi.VECTOR_DF and faults:
        return None
    after_fault = first.vector in _PAGE_FAULTS and faults
    after_contributory = first.vector in _CONTRIBUTORY and second.vector in _CONTRIBUTORY
    if after_fault or after_contributory:
        return Event.exception(abi.VECTOR_DF, 0)
    return second


def _record_cause(guest: Guest, event: Event, address: int) -> None:
    """What the handler will look at: CR2, DR6; and it may access debug registers."""
    if event.kind != abi.INTR_TYPE_HARDWARE_EXCEPTION:
        return
    if event.vector == abi.VECTOR_PF:
        guest.processor.cr2 = address
    elif event.vector == abi.VECTOR_DB:
        dr = guest.processor.dr
        dr[6] |= address
        dr[7] &= ~_DR7_GENERAL_DETECT
