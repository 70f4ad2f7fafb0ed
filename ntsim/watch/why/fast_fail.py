"""0x139: the kernel found something corrupt and stopped at once."""

from __future__ import annotations

from ntsim.nt.events import ExceptionRaised, StackRestored, StackSaved
from ntsim.watch.why.case import Case, Explainer

INCORRECT_STACK = 4


def explain(case: Case) -> None:
    """The reason of the fast fail; for a stack, when it was saved and restored."""
    state = case.state
    raised = case.last(ExceptionRaised, processor=state.processor)
    reason = raised.reason if raised else f"fast fail {case.parameters[0]}"
    if case.parameters[0] == INCORRECT_STACK:
        saved = case.last(StackSaved, thread=state.thread)
        if saved is not None:
            case.tell(saved, "The stack pointer was saved here.")
        restored = case.last(StackRestored, thread=state.thread)
        if restored is not None:
            case.tell(restored, "The saved stack was restored here; that works once.")
    if raised is not None:
        case.tell(raised, f"The check failed: {reason}.")
    case.summary = f"The kernel found corruption: {reason}."


EXPLAINS: dict[int, Explainer] = {0x139: explain}
