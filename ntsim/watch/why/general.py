"""Any other bug check: the last that its thread and processor did."""

from __future__ import annotations

from ntsim.nt.events import Event, ThreadSwitched
from ntsim.watch.why.case import Case

LAST = 8


def explain(case: Case) -> None:
    """The last events of the thread and the processor, and who called KeBugCheckEx."""
    state = case.state
    recent = [
        event
        for event in case.newest_first(Event, processor=state.processor)
        if not isinstance(event, ThreadSwitched)
    ][:LAST]
    for event in recent:
        text = event.describe()
        case.tell(event, f"{text[:1].upper()}{text[1:]}.")
    caller = case.sources.innermost(state.stack, user=False)
    if caller is None:
        case.summary = f"The kernel stopped with {case.name}."
        return
    own = len(state.stack) > 1 and state.stack[1] is caller
    how = "called KeBugCheckEx" if own else "was running"
    case.tell_at_end(f"{caller.call_site} {how}.", state.stack)
    case.summary = f"{caller.call_site} {how} at {case.sources.place(state.stack)}."
