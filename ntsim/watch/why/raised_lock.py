"""0x192: a lock whose waiters wait was acquired at a level where nobody can."""

from __future__ import annotations

from ntsim.nt.events import irql_name
from ntsim.watch.why.case import Case, Explainer
from ntsim.watch.why.level import tell_level


def explain(case: Case) -> None:
    """What had raised the level, and where the lock was asked for."""
    _, lock, irql, _ = case.parameters
    why = tell_level(case)
    case.tell_at_end(
        f"The lock at {lock:#x} was asked for at {irql_name(irql)}. Whoever holds it may be the "
        "thread that was interrupted, which does not go on before this is done.",
        case.state.stack,
    )
    here = case.sources.place(case.state.stack)
    case.summary = f"A lock that threads wait for was acquired too high, at {here}: {why}."


EXPLAINS: dict[int, Explainer] = {0x192: explain}
