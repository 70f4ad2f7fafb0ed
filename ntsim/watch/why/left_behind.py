"""0xD4: the kernel came upon something that an unloaded driver had left in its lists."""

from __future__ import annotations

from ntsim.abi.ex import ERESOURCE
from ntsim.nt.events import DriverUnloaded, ResourceInitialized
from ntsim.watch.why import page_fault
from ntsim.watch.why.case import Case, Explainer


def explain(case: Case) -> None:
    """The ERESOURCE at the address, who initialised it, and when its memory went."""
    va = case.parameters[0]
    gone = case.nt.images.unloaded_at(va)
    made = _resource_at(case, va)
    if gone is None or made is None:
        page_fault.explain_irql(case)
        return
    case.tell(made, f"The ERESOURCE at {made.resource:#x} was linked into the list of all.")
    unloaded = case.last(DriverUnloaded, after=made)
    if unloaded is not None:
        case.tell(unloaded, f"{gone.file_name} was taken out of memory, the ERESOURCE with it.")
    case.tell_at_end(
        f"The list still leads to {va:#x}, where {gone.file_name} was. It has a spin lock, and at "
        "DISPATCH_LEVEL no page fault can be served.",
        case.state.stack,
    )
    case.summary = (
        f"{gone.file_name} is gone without ExDeleteResourceLite for the ERESOURCE that it "
        f"initialized at {made.where}; noticed at {case.sources.place(case.state.stack)}, by way "
        "of another one beside it in the list."
    )


def _resource_at(case: Case, va: int) -> ResourceInitialized | None:
    found = case.newest_first(ResourceInitialized)
    return next((e for e in found if e.resource <= va < e.resource + ERESOURCE.size), None)


EXPLAINS: dict[int, Explainer] = {0xD4: explain}
