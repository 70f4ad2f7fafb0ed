"""0x139: the kernel found something corrupt and stopped at once."""

from __future__ import annotations

from ntsim.nt.events import (
    ExceptionRaised,
    ListCorrupt,
    PoolAllocated,
    PoolFreed,
    ResourceInitialized,
    StackNotTheThreads,
    StackRestored,
    StackSaved,
    VmExited,
)
from ntsim.watch.why.case import Case, Explainer
from ntsim.watch.why.level import interrupts_off_since
from ntsim.watch.why.memory import block_at, tell_memory

CORRUPT_LIST_ENTRY, INCORRECT_STACK = 3, 4


def explain(case: Case) -> None:
    """The reason of the fast fail; for a stack, when it was saved and restored."""
    state = case.state
    if case.parameters[0] == CORRUPT_LIST_ENTRY:
        explain_list(case)
        return
    outside = case.last(StackNotTheThreads, processor=state.processor)
    if case.parameters[0] == INCORRECT_STACK and outside is not None:
        explain_outside(case, outside)
        return
    raised = case.last(ExceptionRaised, processor=state.processor)
    reason = raised.reason if raised else f"fast fail {case.parameters[0]}"
    if case.parameters[0] == INCORRECT_STACK:
        saved = case.last(StackSaved, thread=state.thread)
        if saved is not None:
            case.tell(saved, "The stack pointer was saved here.")
        restored = case.last(StackRestored, thread=state.thread)
        if restored is not None:
            case.tell(restored, "The saved stack was restored here; that works once.")
    if raised is not None:
        case.tell(raised, f"The check failed: {reason}.")
    case.summary = f"The kernel found corruption: {reason}."


def explain_outside(case: Case, outside: StackNotTheThreads) -> None:
    """What asked for the stack's limits, and how the stack pointer came to be elsewhere."""
    left = interrupts_off_since(case, case.state.processor)
    whose = "code that has loaded RSP itself"
    if isinstance(left, VmExited):
        whose = "a VM-exit handler"
        case.tell(
            left,
            f"VM exit ({left.reason}, guest RIP {left.rip:#x}): the processor loaded RSP with "
            "HOST_RSP, which points into memory of the driver's own.",
        )
    limits = f"{outside.low:#x} to {outside.high:#x}"
    case.tell(
        outside,
        f"{outside.what}. Windows looked for the stack's limits first: RSP is {outside.rsp:#x}, "
        f"the thread's stack is {limits}.",
    )
    case.summary = (
        f"{outside.what} in {whose}, at {case.sources.place(case.state.stack)}: on a stack that is "
        "not the thread's no exception is dispatched, whatever handler is around it."
    )


def explain_list(case: Case) -> None:
    """Which neighbour does not point back, and the past of the memory that both lie in."""
    corrupt = case.last(ListCorrupt, processor=case.state.processor)
    here = case.sources.place(case.state.stack)
    if corrupt is None:
        case.summary = f"A doubly linked list is corrupt, noticed at {here}."
        return
    case.tell(
        corrupt,
        f"The link check failed for the entry at {corrupt.entry:#x}: {corrupt.found}, where it "
        "should be the entry itself.",
    )
    lost = _resource_in_freed_pool(case, corrupt.neighbour)
    if lost is not None:
        case.summary = (
            f"The list of all ERESOURCEs is corrupt, noticed at {here}: memory with a resource in "
            f"it was freed at {lost.where}, without ExDeleteResourceLite."
        )
        return
    owners = (
        tell_memory(case, address)
        for address in (corrupt.neighbour, corrupt.entry)
        if block_at(case, address)[0] is not None
    )
    freed = next((text for text in owners if " freed at " in text), None)
    if freed is None:
        freed = "it is no longer in the list, as after a second removal, or a link was overwritten"
    else:
        freed = f"the list leads to {freed}"
    case.summary = f"A list entry does not fit its neighbours, noticed at {here}: {freed}."


def _resource_in_freed_pool(case: Case, address: int) -> PoolFreed | None:
    """Steps for an ERESOURCE whose memory was freed while it was in the list of all; the free."""
    made = next((e for e in case.newest_first(ResourceInitialized) if e.resource == address), None)
    if made is None:
        return None
    earlier = case.newest_first(PoolAllocated, before=made)
    block = next((e for e in earlier if _in(e, address)), None)
    freed = [
        e for e in case.newest_first(PoolFreed, after=made) if block and e.address == block.address
    ]
    if not freed or block is None:
        return None
    case.tell(block, f"{block.size} bytes were allocated at {block.address:#x}.")
    case.tell(made, f"The ERESOURCE at {address:#x} was initialized and linked into the list.")
    case.tell(freed[-1], "The block was freed, with the resource in it still linked.")
    return freed[-1]


def _in(block: PoolAllocated, address: int) -> bool:
    return block.address <= address < block.address + block.size


EXPLAINS: dict[int, Explainer] = {0x139: explain}
