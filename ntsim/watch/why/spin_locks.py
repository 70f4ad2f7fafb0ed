"""Spin locks: who holds one, and who spins on one."""

from __future__ import annotations

from collections.abc import Sequence

from ntsim.nt.events import Event, SpinLockAcquired, SpinLockReleased
from ntsim.nt.ki.frames import StackFrame
from ntsim.watch.why.case import Case

ACQUIRING = ("KeAcquire", "KxAcquire", "IoAcquireCancelSpinLock", "ExInterlocked")


def wanted_lock(stack: list[StackFrame]) -> int:
    """Address of the lock that a stack is spinning on; 0 if it does not spin on one."""
    for frame in stack:
        if frame.symbol.startswith(ACQUIRING) and frame.arguments:
            return frame.arguments[0]
        if frame.file:
            break
    return 0


def holder(events: Sequence[Event], lock: int) -> SpinLockAcquired | None:
    """The acquisition of a lock that nothing has released."""
    for event in reversed(events):
        if isinstance(event, SpinLockAcquired) and event.lock == lock:
            return event
        if isinstance(event, SpinLockReleased) and event.lock == lock:
            return None
    return None


def tell_spinning(case: Case, number: int, stack: list[StackFrame]) -> str:
    """Steps for whom a spinning processor waits for, and whom that one waits for in turn.

    A clause for the summary; empty if the processor does not spin on a lock.
    """
    clause = ""
    seen = []
    while number not in seen:
        seen.append(number)
        lock = wanted_lock(stack)
        held = holder(case.events, lock) if lock else None
        if held is None:
            break
        case.tell(held, f"Spin lock {lock:#x} was acquired and not released again.")
        here = case.sources.place(stack)
        own = held.processor == number
        whom = "the same processor" if own else f"processor {held.processor}"
        case.tell_at_end(
            f"Processor {number} spins for spin lock {lock:#x}, which {whom} holds.", stack, number
        )
        clause = clause or f"{here} spins for a lock that {whom} holds since {held.where}"
        number = held.processor
        stack = case.state.processors[number].stack
    return clause
