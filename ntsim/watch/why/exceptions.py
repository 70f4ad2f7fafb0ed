"""0x1E, 0x3B, 0x7E: an exception that nobody handled, Python errors among them."""

from __future__ import annotations

from ntsim.abi import ntstatus
from ntsim.nt.events import Event, ExceptionRaised, VmExited, VmxOccurred
from ntsim.nt.rtl.exception import PYTHON_ERROR, StructuredException
from ntsim.watch.why.case import Case, Explainer
from ntsim.watch.why.journey import FAILED, RISKY
from ntsim.watch.why.level import (
    interrupts_off_since,
    running_dpc,
    tell_interrupts_off,
    tell_level,
)
from ntsim.watch.why.memory import tell_memory

WHERE = {0x3B: "in a system call", 0x7E: "in a system thread"}
MOST_STEPS = 3
UNKNOWN = 0xFFFF_FFFF_FFFF_FFFF
"""What an access violation gives for an address that is not canonical."""


def explain(case: Case) -> None:
    """What was raised and where; nobody between there and the kernel's edge handled it."""
    state = case.state
    fault = state.fault
    where = WHERE.get(state.code) or _tell_context(case)
    place = case.sources.place(state.stack)
    what = exception_text(fault) if fault else f"exception {case.parameters[0]:#x}"
    if fault is None or fault.ExceptionCode != PYTHON_ERROR:
        _tell_vmx(case)
    address = _touched(fault)
    raised = case.last(ExceptionRaised, processor=state.processor)
    text = f"{what}."
    if address is not None:
        text += f" That address is {tell_memory(case, address)}."
    if fault is not None and fault.ExceptionCode == PYTHON_ERROR:
        text += f" In a driver that is exception {PYTHON_ERROR:#x}."
    if raised is not None and raised.where == place:
        case.tell(raised, text)
    else:
        case.tell_at_end(text, state.stack)
    case.tell_at_end(f"No handler took the exception, which was raised {where}.")
    case.summary = f"{what}, unhandled {where}, in {place or 'kernel code'}."


def _tell_context(case: Case) -> str:
    """0x1E: what ran for no thread, so that no thread's handler was asked."""
    number = case.state.processor
    if isinstance(interrupts_off_since(case, number), VmExited):
        tell_interrupts_off(case, number)
        return "in a VM-exit handler"
    tell_level(case)
    return "in a DPC" if running_dpc(case, number) else "in an interrupt routine"


def _touched(fault: StructuredException | None) -> int | None:
    """The address of an access violation; None for other exceptions and addresses unknown."""
    if fault is None or fault.ExceptionCode != ntstatus.STATUS_ACCESS_VIOLATION:
        return None
    if len(fault.ExceptionInformation) < 2 or fault.ExceptionInformation[1] == UNKNOWN:
        return None
    return fault.ExceptionInformation[1]


def exception_text(fault: StructuredException) -> str:
    """`IndexError: list index out of range` or `STATUS_ACCESS_VIOLATION (read of 0x28)`."""
    if fault.ExceptionCode == PYTHON_ERROR:
        return fault.reason
    name = ntstatus.status_name(fault.ExceptionCode)
    return f"{name} ({fault.reason})" if fault.reason else name


def _tell_vmx(case: Case) -> None:
    """What VT-x refused on this processor lately."""
    events: list[Event] = [
        event
        for event in case.newest_first(VmxOccurred, processor=case.state.processor)
        if event.name in FAILED or event.name in RISKY
    ]
    for event in events[:MOST_STEPS]:
        assert isinstance(event, VmxOccurred)
        case.tell(event, f"VT-x: {event.text_}.")


EXPLAINS: dict[int, Explainer] = dict.fromkeys((0x1E, 0x3B, 0x7E), explain)
