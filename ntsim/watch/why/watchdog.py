"""0x133: a DPC, or a stay at DISPATCH_LEVEL, that was too long."""

from __future__ import annotations

from ntsim.watch.why.case import Case, Explainer
from ntsim.watch.why.level import running_dpc, tell_level
from ntsim.watch.why.spin_locks import tell_spinning

TICK_SECONDS = 0.015625


def explain(case: Case) -> None:
    """What the processor has been doing, since when, and what it spins for."""
    state = case.state
    kind, ticks, _, _ = case.parameters
    level = tell_level(case)
    spin = tell_spinning(case, state.processor, state.stack)
    if not spin:
        case.tell_at_end("This is where the processor is now.", state.stack)
    dpc = running_dpc(case, state.processor)
    what = f"The DPC routine {dpc.routine}" if dpc and kind == 0 else "The processor"
    limit = case.parameters[2] if kind == 0 else ticks
    case.tell_at_end(
        f"{what} was at DISPATCH_LEVEL or above for more than the {limit} clock ticks "
        f"({limit * TICK_SECONDS:.0f} s) that are allowed."
    )
    case.summary = f"A processor stayed at DISPATCH_LEVEL or above too long: {spin or level}."


EXPLAINS: dict[int, Explainer] = {0x133: explain}
