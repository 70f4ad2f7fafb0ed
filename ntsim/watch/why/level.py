"""Why the IRQL was what it was: who raised it, which DPC was running, who turned interrupts off."""

from __future__ import annotations

from ntsim.hw.cpu import RFLAGS_IF
from ntsim.nt.events import (
    DpcEnded,
    DpcQueued,
    DpcStarted,
    Event,
    InterruptsDisabled,
    InterruptsHeldOff,
    IrqlLowered,
    IrqlRaised,
    SpinLockReleased,
    ThreadSwitched,
    VmExited,
    irql_name,
)
from ntsim.watch.why.case import Case

DISPATCH_LEVEL = 2
LOWERING = (
    "KeLowerIrql", "KfLowerIrql", "KeReleaseSpinLock", "KeReleaseInStackQueuedSpinLock",
    "IoReleaseCancelSpinLock", "__writecr8",
)  # fmt: skip
INTERRUPTS = {
    "KiIpiInterrupt": "an inter-processor interrupt, which runs at IPI_LEVEL (14)",
    "KiClockInterrupt": "the clock interrupt, which runs at CLOCK_LEVEL (13)",
}


def standing_raises(case: Case, thread: str, after: Event | None = None) -> list[IrqlRaised]:
    """The raises of a thread that nothing has lowered again, oldest first.

    Only what happened after an event, if one is given.
    """
    standing: list[IrqlRaised] = []
    changes = list(case.newest_first(IrqlRaised, thread=thread, after=after))
    for change in reversed(changes):
        if isinstance(change, IrqlLowered):
            standing = [each for each in standing if each.new <= change.new]
        else:
            standing.append(change)
    return standing


def running_dpc(case: Case, processor: int) -> DpcStarted | None:
    """The DPC that was running on a processor at the bug check."""
    started = case.last(DpcStarted, processor=processor)
    if started is None or case.last(DpcEnded, processor=processor, after=started) is not None:
        return None
    return started


def interrupts_off_since(case: Case, processor: int) -> VmExited | InterruptsDisabled | None:
    """The VM exit or CLI since which interrupts were off on a processor; None if they were on."""
    if case.state.processors[processor].rflags & RFLAGS_IF:
        return None
    disabled = None
    for event in case.newest_first(Event, processor=processor):
        if isinstance(event, VmExited):
            return disabled or event
        if isinstance(event, InterruptsDisabled):
            disabled = event
        elif isinstance(event, (InterruptsHeldOff, ThreadSwitched)):
            break
    return disabled


def tell_raise(case: Case, raised: IrqlRaised) -> None:
    """A raise that still stands."""
    text = f"{raised.routine} raised the IRQL from {irql_name(raised.old)} to "
    case.tell(raised, f"{text}{irql_name(raised.new)}.")


def tell_missing_lower(case: Case, raised: IrqlRaised) -> None:
    """A raise that should not stand any more, and where its function would have undone it."""
    text = f"{raised.routine} raised the IRQL from {irql_name(raised.old)} to "
    text += f"{irql_name(raised.new)}. Nothing lowered it again."
    function = raised.where.rpartition(" ")[2]
    lines = case.sources.calls(raised.where, LOWERING)
    if lines:
        places = " and ".join(str(line) for line in lines)
        text += f" {function} would at line {places}; that has not happened."
    case.tell(raised, text)
    released = case.last(SpinLockReleased, thread=raised.thread, after=raised)
    if released is not None:
        case.tell(released, "A spin lock was released here, and the IRQL stayed as it was.")


def tell_interrupts_off(case: Case, processor: int) -> str:
    """Why interrupts were off on a processor: a clause for the summary, empty if they were on."""
    since = interrupts_off_since(case, processor)
    if since is None:
        return ""
    if isinstance(since, InterruptsDisabled):
        case.tell(since, f"{since.reason} turned interrupts off on processor {processor}.")
        return f"interrupts were off since {since.reason} at {since.where}"
    case.tell(
        since,
        f"VM exit ({since.reason}, guest RIP {since.rip:#x}): the processor loaded RFLAGS with 2, "
        "so interrupts are off from here on.",
    )
    return "interrupts are off after a VM exit"


def tell_level(case: Case) -> str:
    """Why the failing code ran at its IRQL: a clause for the summary."""
    state = case.state
    off = tell_interrupts_off(case, state.processor) if state.irql > 15 else ""
    if off:
        return off
    dpc = running_dpc(case, state.processor)
    raises = standing_raises(case, state.thread, after=dpc)
    for raised in raises:
        tell_raise(case, raised)
    if dpc is not None:
        return _tell_dpc(case, dpc)
    if raises:
        last = raises[-1]
        return f"{last.routine} at {last.where} had raised the IRQL to {irql_name(last.new)}"
    return _interrupt_context(case)


def _tell_dpc(case: Case, dpc: DpcStarted) -> str:
    queued = next((q for q in case.newest_first(DpcQueued, before=dpc) if q.dpc == dpc.dpc), None)
    if queued is not None:
        case.tell(queued, f"The DPC {dpc.dpc:#x} was queued to processor {queued.target}.")
    case.tell(dpc, f"The DPC's routine {dpc.routine} was called: DPCs run at DISPATCH_LEVEL (2).")
    return f"{dpc.routine} ran as a DPC, at DISPATCH_LEVEL (2)"


def _interrupt_context(case: Case) -> str:
    for frame in case.state.stack:
        if frame.symbol in INTERRUPTS:
            text = f"{INTERRUPTS[frame.symbol]}"
            case.tell_at_end(f"The code ran in {text}.", case.state.stack)
            return f"the code ran in {text}"
    return f"the IRQL was {irql_name(case.state.irql)}"
