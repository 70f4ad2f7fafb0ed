"""0x1 and 0x20: a thread left with kernel APCs disabled, attached, or at raised IRQL."""

from __future__ import annotations

from ntsim.nt.events import ApcsDisabled, ApcsEnabled, SystemCallReturned
from ntsim.watch.why.case import Case, Explainer
from ntsim.watch.why.journey import tell_journey
from ntsim.watch.why.level import standing_raises, tell_missing_lower


def standing_disables(case: Case, thread: str) -> list[ApcsDisabled]:
    """The APC disables of a thread that nothing has undone, oldest first."""
    standing: list[ApcsDisabled] = []
    for change in reversed(list(case.newest_first(ApcsDisabled, thread=thread))):
        if not isinstance(change, ApcsEnabled):
            standing.append(change)
            continue
        undone = next((d for d in reversed(standing) if d.kind == change.kind), None)
        if undone is not None:
            standing.remove(undone)
    return standing


def surplus_enables(case: Case, thread: str) -> list[ApcsEnabled]:
    """Enables that took a thread's count above zero."""
    found = reversed(list(case.newest_first(ApcsEnabled, thread=thread)))
    return [event for event in found if event.count > 0]


def explain_system_call(case: Case) -> None:
    """0x1 at the exit of a system call."""
    cause = _tell_counts(case)
    returned = case.last(SystemCallReturned, thread=case.state.thread)
    if returned is not None:
        case.tell(returned, f"{returned.service} returned {returned.status}.")
    _, index, counts, _ = case.parameters
    case.tell_at_end(
        f"The way back to user mode found the APC disable counts at {counts:#x} and the APC state "
        f"index at {index}; both must be 0."
    )
    case.summary = f"A system call returned with kernel APCs still disabled; {cause}."


def explain_thread_exit(case: Case) -> None:
    """0x20: a thread ended so."""
    cause = _tell_counts(case)
    raises = standing_raises(case, case.state.thread)
    for raised in raises:
        tell_missing_lower(case, raised)
    if raises:
        tell_journey(case, case.since(raises[0], thread=case.state.thread))
    case.tell_at_end("The thread ended.", case.state.stack)
    if raises:
        cause = f"{raises[-1].routine} at {raises[-1].where} had raised the IRQL"
    case.summary = f"A thread ended at raised IRQL or with kernel APCs disabled; {cause}."


def _tell_counts(case: Case) -> str:
    """Steps for every unbalanced call; a clause that names the first."""
    thread = case.state.thread
    for event in standing_disables(case, thread):
        case.tell(event, f"{event.routine} disabled {event.kind} APCs. Nothing enabled them again.")
    for event in surplus_enables(case, thread):
        case.tell(event, f"{event.routine} enabled {event.kind} APCs that were not disabled.")
    found = standing_disables(case, thread) or surplus_enables(case, thread)
    if not found:
        return "the recorder holds no call without its counterpart"
    return f"{found[0].routine} at {found[0].where} has no counterpart"


EXPLAINS: dict[int, Explainer] = {0x1: explain_system_call, 0x20: explain_thread_exit}
