"""0xC8: a DPC routine that returned at another IRQL than it was called at."""

from __future__ import annotations

from ntsim.nt.events import DpcStarted, IrqlRaised, irql_name
from ntsim.watch.why.case import Case, Explainer
from ntsim.watch.why.level import DISPATCH_LEVEL


def explain(case: Case) -> None:
    """Every change of the IRQL since the routine was called."""
    state = case.state
    found = case.parameters[0] >> 16 & 0xFF
    dpc = case.last(DpcStarted, processor=state.processor)
    if dpc is not None:
        case.tell(dpc, f"The DPC routine {dpc.routine} was called at {irql_name(DISPATCH_LEVEL)}.")
        changes = case.newest_first(IrqlRaised, processor=state.processor, after=dpc)
        for change in changes:
            case.tell(change, change.describe() + ".")
    name = case.nt.describe_address(case.parameters[2])
    case.tell_at_end(f"{name} returned at {irql_name(found)}.")
    case.summary = f"The DPC routine {name} returned at {irql_name(found)}."


EXPLAINS: dict[int, Explainer] = {0xC8: explain}
