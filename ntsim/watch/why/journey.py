"""What a thread went through between two moments: IRPs, VT-x, saved stacks, interrupts, waits."""

from __future__ import annotations

from collections.abc import Sequence

from ntsim.nt.events import (
    Event,
    InterruptsDisabled,
    IrpCompleted,
    IrpSent,
    StackRestored,
    StackSaved,
    VmExited,
    VmxOccurred,
    WaitStarted,
)
from ntsim.watch.why.case import Case
from ntsim.watch.why.level import LOWERING

NOTABLE = (
    IrpSent, IrpCompleted, VmExited, StackSaved, StackRestored, InterruptsDisabled, WaitStarted,
)  # fmt: skip
MOST_STEPS = 12
FAILED = ("VmxInstructionFailed", "VmxAborted")
RISKY = (
    "VmcsActiveElsewhere", "VmcsLeftActive", "VmcsRegionWritten", "VmcsNeverCleared",
    "VmEntryUsedUnwritten",
)  # fmt: skip
"""No errors on silicon, and the cause of some: for stories in which VT-x itself is in question."""


def tell_journey(case: Case, events: Sequence[Event]) -> None:
    """Steps for what is notable among `events` of one thread, `MOST_STEPS` at most."""
    notable = [event for event in events if _is_notable(event)]
    texts: list[tuple[Event, str]] = []
    handled: VmExited | None = None
    for number, event in enumerate(notable):
        following = notable[number + 1 : number + 2]
        if isinstance(event, VmExited) and any(map(_is_resume, following)):
            if handled is None or handled.reason != event.reason:
                texts.append((event, f"{_exit(event)}. The handler resumed the guest."))
            handled = event
        elif not _is_resume(event):
            texts.append((event, _text(case, event)))
    for event, text in texts[-MOST_STEPS:]:
        case.tell(event, text)


def _is_notable(event: Event) -> bool:
    if isinstance(event, VmxOccurred):
        return event.name in ("VmxOperationEntered", "VmxOperationLeft", "VmEntered", *FAILED)
    return isinstance(event, NOTABLE)


def _is_resume(event: Event) -> bool:
    """Whether it is the exit stub's VM entry, which no line of the driver asked for."""
    return isinstance(event, VmxOccurred) and event.name == "VmEntered" and not event.where


def _exit(event: VmExited) -> str:
    return f"VM exit ({event.reason}) at guest RIP {event.rip:#x}"


def _text(case: Case, event: Event) -> str:
    if isinstance(event, StackSaved):
        return "The stack pointer was saved here."
    if isinstance(event, StackRestored):
        return _restored(case, event)
    if isinstance(event, VmExited):
        return f"{_exit(event)}. The processor loaded RFLAGS with 2: interrupts are off now."
    if isinstance(event, InterruptsDisabled):
        return f"{event.reason} turned interrupts off."
    if isinstance(event, IrpSent):
        return f"{event.major} was sent to {event.driver}."
    if isinstance(event, IrpCompleted):
        return f"The IRP was completed with {event.status}, Information {event.information}."
    if isinstance(event, WaitStarted):
        return f"The thread waited for {event.objects}."
    assert isinstance(event, VmxOccurred)
    if event.name == "VmEntered":
        return f"VM entry ({event.text_}). It does not return here; a VM exit goes elsewhere."
    return f"VT-x: {event.text_}."


def _restored(case: Case, event: StackRestored) -> str:
    saved = (e for e in case.newest_first(StackSaved, before=event) if e.slot == event.slot)
    text = f"The saved stack was restored: {event.abandoned} frames were abandoned ({event.frames})"
    place = next((each.where for each in saved), "")
    text += f", and {place} went on. " if place else ". "
    for function in event.frames.split(", "):
        lines = case.sources.calls_by(function, LOWERING)
        if lines:
            text += f"{function}, which would lower the IRQL at line {lines[0]}, never will. "
    return text + "General registers come back with a saved stack; the IRQL and RFLAGS do not."
