"""0x101: a processor that takes no clock interrupts, noticed by another."""

from __future__ import annotations

from ntsim.nt.events import irql_name
from ntsim.watch.why.case import Case, Explainer
from ntsim.watch.why.level import standing_raises, tell_interrupts_off, tell_raise
from ntsim.watch.why.spin_locks import tell_spinning

CLOCK_LEVEL = 13


def explain(case: Case) -> None:
    """Why the silent processor holds its clock interrupt off, and where it is."""
    number = case.parameters[3]
    silent = case.state.processors[number]
    off = tell_interrupts_off(case, number)
    raises = [] if off else standing_raises(case, silent.thread)
    for raised in raises:
        tell_raise(case, raised)
    spin = tell_spinning(case, number, silent.stack)
    if not spin:
        case.tell_at_end(f"This is where processor {number} is now.", silent.stack, number)
    held = off or f"its IRQL is {irql_name(silent.irql)}"
    case.tell_at_end(
        f"Processor {number} has taken no clock interrupt for {case.parameters[0]} ticks: {held}. "
        f"Processor {case.state.processor} noticed."
    )
    case.summary = f"Processor {number} does not answer: {held}; {spin or _place(case, number)}."


def _place(case: Case, number: int) -> str:
    place = case.sources.place(case.state.processors[number].stack)
    return f"it is at {place}" if place else "it is in no driver's code"


EXPLAINS: dict[int, Explainer] = {0x101: explain}
