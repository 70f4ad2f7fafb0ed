"""0x4A: a system call returned to user mode at raised IRQL."""

from __future__ import annotations

from ntsim.nt.events import SystemCallEntered, SystemCallReturned, irql_name
from ntsim.watch.why.case import Case, Explainer
from ntsim.watch.why.journey import tell_journey
from ntsim.watch.why.level import (
    interrupts_off_since,
    standing_raises,
    tell_interrupts_off,
    tell_missing_lower,
)


def explain(case: Case) -> None:
    """The raise that nothing undid, what the thread did since, and the system call's return."""
    state = case.state
    level = irql_name(case.parameters[1])
    raises = standing_raises(case, state.thread)
    for raised in raises:
        tell_missing_lower(case, raised)
    entered = case.last(SystemCallEntered, thread=state.thread)
    if entered is not None:
        place = case.sources.place([frame for frame in state.stack if frame.user])
        case.tell(entered, f"The app made the system call {entered.service}.", place)
        tell_journey(case, case.since(entered, thread=state.thread))
    returned = case.last(SystemCallReturned, thread=state.thread)
    if returned is not None:
        case.tell(returned, f"{returned.service} returned {returned.status}.")
    _tell_exit(case, level)
    case.summary = f"A system call returned to user mode at {level}; {_cause(case)}."


def _tell_exit(case: Case, level: str) -> None:
    text = f"The way back to user mode found the IRQL at {level}; it must be PASSIVE_LEVEL (0)."
    number = case.state.processor
    since = interrupts_off_since(case, number)
    if since is not None:
        tell_interrupts_off(case, number)
        moment = f"{since.time // 10}.{since.time % 10} us"
        text += f" Interrupts were off as well, since {moment}."
    case.tell_at_end(text)


def _cause(case: Case) -> str:
    raises = standing_raises(case, case.state.thread)
    if not raises:
        return "the recorder holds no call that raised it"
    last = raises[-1]
    return f"{last.routine} at {last.where} had raised it and nothing lowered it again"


EXPLAINS: dict[int, Explainer] = {0x4A: explain}
