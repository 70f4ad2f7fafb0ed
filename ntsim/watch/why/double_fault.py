"""0x7F with parameter 1 = 8: no kernel stack is left, or there is none where RSP points."""

from __future__ import annotations

from collections import Counter

from ntsim.nt.events import VmExited
from ntsim.watch.why import general
from ntsim.watch.why.case import Case, Explainer
from ntsim.watch.why.memory import describe_place

DOUBLE_FAULT = 8
NEAR = 0x2000
RECURSION = 10
"""Frames of one routine on a stack from which on it is recursion."""


def explain(case: Case) -> None:
    """Which routine fills the stack, if one does."""
    if case.parameters[0] != DOUBLE_FAULT:
        general.explain(case)
        return
    state = case.state
    if case.parameters[3] and not _near_a_stack(case):
        _tell_no_stack(case)
        return
    counts = Counter(frame.symbol for frame in state.stack if frame.file)
    symbol, count = next(iter(counts.most_common(1)), ("", 0))
    who = f": {symbol} is on it {count} times" if count >= RECURSION else ""
    case.tell_at_end(f"The kernel stack of thread {state.thread} is used up{who}.", state.stack)
    case.summary = f"The kernel stack was used up{who}."


def _near_a_stack(case: Case) -> bool:
    """Whether RSP is in a thread's stack or has just left it."""
    rsp, threads = case.parameters[2], case.nt.ke.threads.values()
    return any(each.stack_limit - NEAR <= rsp <= each.stack_base for each in threads)


def _tell_no_stack(case: Case) -> None:
    """Parameters 3 and 4 are RSP and RIP, and no memory is where RSP points."""
    state, rsp = case.state, case.parameters[2]
    what = f"RSP is {rsp:#x}, {describe_place(case.nt, rsp)}"
    exit_ = case.last(VmExited, processor=state.processor)
    source = "RSP points to no stack"
    mode = state.processors[state.processor].vmx
    if exit_ is not None and mode == "off":
        source = "RSP points to none after VMXOFF"
        case.tell(exit_, f"The last VM exit ({exit_.reason}); its handler left VMX operation.")
    if exit_ is not None and mode == "root":
        source = "a VM exit loaded RSP with a HOST_RSP that is no stack"
        case.tell(exit_, f"VM exit ({exit_.reason}): RSP is loaded from HOST_RSP.")
    case.tell_at_end(
        f"{what}. The first that is pushed there faults, and so does the frame of that page fault.",
        state.stack,
    )
    case.summary = f"There is no stack: {source}. {what}."


EXPLAINS: dict[int, Explainer] = {0x7F: explain}
