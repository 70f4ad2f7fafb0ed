"""0xB8: a wait in a DPC."""

from __future__ import annotations

from ntsim.watch.why.case import Case, Explainer
from ntsim.watch.why.level import tell_level


def explain(case: Case) -> None:
    """The DPC, and the wait that it cannot have."""
    level = tell_level(case)
    case.tell_at_end(
        "The routine waits. A wait needs the dispatcher to run another thread, and the dispatcher "
        "is held off until DPCs have returned.",
        case.state.stack,
    )
    here = case.sources.place(case.state.stack)
    case.summary = f"A wait at {here} where the dispatcher cannot run: {level}."


EXPLAINS: dict[int, Explainer] = {0xB8: explain}
