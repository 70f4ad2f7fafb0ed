"""What happens to a guest between two of its instructions, in the SDM's order.

Injected events, pending debug exceptions, the VMX-preemption timer, NMI and interrupt windows,
external interrupts.
Source: SDM 3, "VM Entries" (event injection, pending debug exceptions), "Other Causes of VM Exits".
"""

from __future__ import annotations

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.guest.events import DR6_BS, inject, raise_event
from ntsim.hw.vmx.guest.state import RFLAGS, Guest
from ntsim.hw.vmx.interruption import Event
from ntsim.hw.vmx.preemption_timer import expired

SHADOW = abi.BLOCKING_BY_STI | abi.BLOCKING_BY_MOV_SS
_WINDOWS = abi.CPU_BASED_INTERRUPT_WINDOW_EXITING | abi.CPU_BASED_NMI_WINDOW_EXITING
_DROP_PENDING = (
    abi.INTR_TYPE_EXTERNAL_INTERRUPT,
    abi.INTR_TYPE_NMI,
    abi.INTR_TYPE_HARDWARE_EXCEPTION,
    abi.INTR_TYPE_PRIVILEGED_SOFTWARE_EXCEPTION,
)
_PENDING_ENABLED_BREAKPOINT = 1 << 12
_PENDING_CAUSES = 0xF | DR6_BS


def first_boundary(guest: Guest) -> ExitInformation | None:
    """VM entry delivers what it injects, before anything else happens."""
    vmx = guest.vmx
    event, vmx.injection = vmx.injection, None
    _drop_pending(guest, event)
    if event is None:
        return boundary(guest)
    if event.kind == abi.INTR_TYPE_OTHER_EVENT:
        return ExitInformation(abi.EXIT_REASON_MONITOR_TRAP_FLAG)
    if event.kind == abi.INTR_TYPE_NMI:
        _block_nmis(guest)
    event.injected = True
    exited = inject(guest, event)
    if exited is None and guest.primary & abi.CPU_BASED_MONITOR_TRAP_FLAG:
        return ExitInformation(abi.EXIT_REASON_MONITOR_TRAP_FLAG)
    return exited or boundary(guest)


def _drop_pending(guest: Guest, event: Event | None) -> None:
    """Pending debug exceptions that a VM entry loses (SDM 3, "Delivery of Pending Debug Exceptions
    after VM Entry")."""
    vmx = guest.vmx
    valid = vmx.pending_debug & (DR6_BS | _PENDING_ENABLED_BREAKPOINT)
    if event is None:
        lost = vmx.activity > abi.ACTIVITY_STATE_HLT
    else:
        lost = event.kind in _DROP_PENDING or not vmx.interruptibility & abi.BLOCKING_BY_MOV_SS
    if lost or not valid:
        vmx.pending_debug = 0


def _block_nmis(guest: Guest) -> None:
    """An NMI blocks further ones, whether its delivery succeeds or not."""
    guest.vmx.interruptibility |= abi.BLOCKING_BY_NMI
    guest.watch_iret()
    guest.store()
    guest.load()


def watched(guest: Guest) -> bool:
    """Whether anything may happen between instructions."""
    vmx = guest.vmx
    if vmx.pending_debug or guest.armed or (guest.controls.between and _by_controls(guest)):
        return True
    if not guest.unseen_processor.apic.requested:
        return False
    exits = guest.pin & abi.PIN_BASED_EXTERNAL_INTERRUPT_EXITING
    return bool(exits or guest.words[RFLAGS] & abi.RFLAGS_IF)


def _by_controls(guest: Guest) -> bool:
    return bool(guest.primary & _WINDOWS) or guest.vmx.timer_deadline is not None


def boundary(guest: Guest) -> ExitInformation | None:
    """What may happen between two instructions: the timer, window exits, then interrupts."""
    vmx = guest.vmx
    if vmx.pending_debug and not vmx.interruptibility & abi.BLOCKING_BY_MOV_SS:
        return raise_debug(guest, 0)
    if vmx.timer_deadline is not None and expired(guest.unseen_processor, vmx.timer_deadline):
        return ExitInformation(abi.EXIT_REASON_VMX_PREEMPTION_TIMER)
    if guest.primary & abi.CPU_BASED_NMI_WINDOW_EXITING and _nmi_window(guest):
        return ExitInformation(abi.EXIT_REASON_NMI_WINDOW)
    open_window = guest.registers.rflags & abi.RFLAGS_IF and not vmx.interruptibility & SHADOW
    if guest.primary & abi.CPU_BASED_INTERRUPT_WINDOW_EXITING and open_window:
        return ExitInformation(abi.EXIT_REASON_INTERRUPT_WINDOW)
    return _external_interrupt(guest, bool(open_window))


def raise_debug(guest: Guest, causes: int) -> ExitInformation | None:
    """#DB as a trap, with what was pending among its causes."""
    vmx = guest.vmx
    causes |= vmx.pending_debug & _PENDING_CAUSES
    vmx.pending_debug = 0
    return raise_event(guest, Event.exception(abi.VECTOR_DB), causes)


def _nmi_window(guest: Guest) -> bool:
    """Nothing blocks NMIs; blocking by STI does not."""
    blocked = guest.vmx.interruptibility & (abi.BLOCKING_BY_NMI | abi.BLOCKING_BY_MOV_SS)
    return not blocked and guest.vmx.activity <= abi.ACTIVITY_STATE_SHUTDOWN


def _external_interrupt(guest: Guest, open_window: bool) -> ExitInformation | None:
    """With external-interrupt exiting RFLAGS.IF does not matter; without it the guest takes it."""
    processor = guest.unseen_processor  # CR8 and the APIC are nobody's state area
    apic = processor.apic
    if not apic.requested:
        return None
    vector = apic.deliverable(processor.cr8)
    if vector < 0 or guest.vmx.activity > abi.ACTIVITY_STATE_HLT:
        return None
    event = Event(vector, abi.INTR_TYPE_EXTERNAL_INTERRUPT)
    if not guest.pin & abi.PIN_BASED_EXTERNAL_INTERRUPT_EXITING:
        if not open_window:
            return None
        apic.accept(vector)
        return inject(guest, event)
    if guest.vmx.interruptibility & SHADOW:
        return None
    acknowledge = guest.get(abi.VM_EXIT_CONTROLS) & abi.VM_EXIT_ACKNOWLEDGE_INTERRUPT_ON_EXIT
    if not acknowledge:
        return ExitInformation(abi.EXIT_REASON_EXTERNAL_INTERRUPT)
    apic.accept(vector)
    return ExitInformation(abi.EXIT_REASON_EXTERNAL_INTERRUPT, event=event)
