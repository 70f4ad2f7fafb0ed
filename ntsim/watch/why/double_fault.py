"""0x7F with parameter 1 = 8: the kernel stack is used up, so the fault handler has none either."""

from __future__ import annotations

from collections import Counter

from ntsim.watch.why import general
from ntsim.watch.why.case import Case, Explainer

DOUBLE_FAULT = 8
RECURSION = 10
"""Frames of one routine on a stack from which on it is recursion."""


def explain(case: Case) -> None:
    """Which routine fills the stack, if one does."""
    if case.parameters[0] != DOUBLE_FAULT:
        general.explain(case)
        return
    state = case.state
    counts = Counter(frame.symbol for frame in state.stack if frame.file)
    symbol, count = next(iter(counts.most_common(1)), ("", 0))
    who = f": {symbol} is on it {count} times" if count >= RECURSION else ""
    case.tell_at_end(f"The kernel stack of thread {state.thread} is used up{who}.", state.stack)
    case.summary = f"The kernel stack was used up{who}."


EXPLAINS: dict[int, Explainer] = {0x7F: explain}
