"""What a thread went through between two moments: VT-x, saved stacks, interrupts, waits."""

from __future__ import annotations

from collections.abc import Sequence

from ntsim.nt.events import (
    Event,
    InterruptsDisabled,
    StackRestored,
    StackSaved,
    VmExited,
    VmxOccurred,
    WaitStarted,
)
from ntsim.watch.why.case import Case

MOST_STEPS = 12
FAILED_OR_RISKY = (
    "VmxInstructionFailed", "VmxAborted", "VmcsActiveElsewhere", "VmcsLeftActive",
    "VmcsRegionWritten", "VmcsNeverCleared", "VmEntryUsedUnwritten",
)  # fmt: skip


def tell_journey(case: Case, events: Sequence[Event]) -> None:
    """Steps for what is notable among `events` of one thread, `MOST_STEPS` at most."""
    chosen = _without_handled_exits([event for event in events if _notable(event)])
    for event in chosen[-MOST_STEPS:]:
        case.tell(event, _text(event))


def _notable(event: Event) -> bool:
    if isinstance(event, VmxOccurred):
        names = ("VmxOperationEntered", "VmxOperationLeft", "VmEntered", *FAILED_OR_RISKY)
        return event.name in names
    kinds = (VmExited, StackSaved, StackRestored, InterruptsDisabled, WaitStarted)
    return isinstance(event, kinds)


def _without_handled_exits(events: list[Event]) -> list[Event]:
    """Leave out VM entries that only resumed the guest after an exit was dealt with, and that exit
    if one for the same reason went before it."""
    kept: list[Event] = []
    for event in events:
        before = kept[-1] if kept else None
        if isinstance(before, VmExited) and _is_resume(event):
            same = len(kept) > 1 and isinstance(kept[-2], VmExited)
            if same and kept[-2].reason == before.reason:  # type: ignore[attr-defined]
                kept.pop()
            continue
        kept.append(event)
    return kept


def _is_resume(event: Event) -> bool:
    return isinstance(event, VmxOccurred) and event.text_.startswith("VMRESUME: guest")


def _text(event: Event) -> str:
    if isinstance(event, StackSaved):
        return "The stack pointer was saved here."
    if isinstance(event, StackRestored):
        return _restored(event)
    if isinstance(event, VmExited):
        return f"VM exit ({event.reason}) at guest RIP {event.rip:#x}; interrupts are off now."
    if isinstance(event, InterruptsDisabled):
        return f"{event.reason} turned interrupts off."
    if isinstance(event, WaitStarted):
        return f"The thread waited for {event.objects}."
    assert isinstance(event, VmxOccurred)
    if event.name == "VmEntered":
        return f"VM entry ({event.text_}). A VM entry does not return here; an exit comes later."
    return f"VT-x: {event.text_}."


def _restored(event: StackRestored) -> str:
    return (
        f"The saved stack was restored: {event.abandoned} frames were abandoned ({event.frames}). "
        "A saved stack brings back general registers; it does not bring back the IRQL or RFLAGS."
    )
