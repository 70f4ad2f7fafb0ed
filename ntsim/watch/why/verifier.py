"""Any bug check that Driver Verifier raised: it knows the reason and what led to it."""

from __future__ import annotations

from ntsim.nt.events import IrqlRaised
from ntsim.nt.vf.notes import Moment, Reason
from ntsim.watch.why.case import Case

IRQL_KINDS = frozenset({0x1, 0x2, 0x11, 0x12, *range(0x30, 0x37), 0x39, 0x3A, 0xE5})


def explain(case: Case, reason: Reason) -> None:
    """The notes of the check, who raised the IRQL if that was wrong, and the violation."""
    kind = case.parameters[0]
    if case.state.code == 0xC4 and (
        kind in IRQL_KINDS or kind >> 12 == 0x20 or kind & ~0xF == 0x120
    ):
        raised = case.last(IrqlRaised, processor=case.state.processor)
        if raised is not None and case.state.irql >= raised.new:
            case.tell(raised, f"{raised.describe()[:1].upper()}{raised.describe()[1:]}.")
    for note in reason.notes:
        case.tell_moment(note.text + way(note.at), note.at)
    here = place(case)
    case.tell_at_end(reason.summary, where=here)
    case.summary = f"{reason.summary} {here}" if here else reason.summary


def place(case: Case) -> str:
    """The driver's line on the stack; if its routine has returned already, where that begins."""
    stack = case.state.stack
    if case.state.code == 0xC9 and case.sources.innermost(stack, user=False) is None:
        return case.sources.routine(case.parameters[1])
    return case.sources.place(stack)


def way(moment: Moment | None) -> str:
    """The driver's routines on a stack, innermost first, if there are several."""
    if moment is None:
        return ""
    sites = [frame.call_site for frame in moment.stack if frame.file and not frame.user]
    return f" By way of {' <- '.join(sites)}." if len(sites) > 1 else ""
