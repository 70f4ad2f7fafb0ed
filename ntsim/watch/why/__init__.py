"""WHY a machine stopped: the chain of recorded events that led to its bug check.

Each family of bug checks has an explainer in a file of its own. It selects events, says in a plain
sentence what each of them means here, and ends with what made the kernel stop. It knows the rules
of Windows, the recorder and the frozen machine; it knows nothing about the driver.
"""

from __future__ import annotations

from ntsim.hw.mmu import UnreadableMemory
from ntsim.nt.events import FailureInjected
from ntsim.nt.ke.bugcheck import BugCheckState
from ntsim.nt.kernel import Kernel
from ntsim.watch.why import (
    apc_counts,
    corrupt_pool,
    devices,
    double_fault,
    dpc_level,
    exceptions,
    fast_fail,
    general,
    irp_life,
    left_behind,
    locked_pages,
    page_fault,
    patch_protection,
    raised_lock,
    resources,
    silent_processor,
    system_call_irql,
    verifier,
    wait_in_dpc,
    watchdog,
)
from ntsim.watch.why.case import Case, Explainer, Story

LATEST_FAILURES = 3

EXPLAINERS: dict[int, Explainer] = {
    **apc_counts.EXPLAINS,
    **corrupt_pool.EXPLAINS,
    **devices.EXPLAINS,
    **double_fault.EXPLAINS,
    **dpc_level.EXPLAINS,
    **exceptions.EXPLAINS,
    **fast_fail.EXPLAINS,
    **irp_life.EXPLAINS,
    **left_behind.EXPLAINS,
    **locked_pages.EXPLAINS,
    **page_fault.EXPLAINS,
    **patch_protection.EXPLAINS,
    **raised_lock.EXPLAINS,
    **resources.EXPLAINS,
    **silent_processor.EXPLAINS,
    **system_call_irql.EXPLAINS,
    **wait_in_dpc.EXPLAINS,
    **watchdog.EXPLAINS,
}
"""Bug-check code -> who explains it; every other code goes to `general`."""


def explain(nt: Kernel, state: BugCheckState) -> Story:
    """The story of a bug check; one that only names the bug check if nothing was recorded."""
    case = Case(nt, state)
    try:
        with nt.mmu.looking():
            if nt.verifier is not None and nt.verifier.reason is not None:
                verifier.explain(case, nt.verifier.reason)
            else:
                EXPLAINERS.get(state.code, general.explain)(case)
    except UnreadableMemory as gap:
        general.explain(case)
        case.tell_at_end(f"A structure is damaged: {gap}, to which it points, cannot be read.")
    for event in list(case.newest_first(FailureInjected))[:LATEST_FAILURES]:
        case.tell(event, f"{event.routine} failed: low resources were simulated.")
    return case.story()
