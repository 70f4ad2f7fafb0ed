"""0xE3 and 0x16E: an ERESOURCE released by a thread that does not own it."""

from __future__ import annotations

from ntsim.abi.ex import ERESOURCE
from ntsim.nt.events import LockAcquired
from ntsim.nt.ex.resource import owner_count, owner_entries
from ntsim.watch.why.case import Case, Explainer


def explain(case: Case) -> None:
    """Who owns the resource, since when, and who wanted to release it."""
    address, here = case.parameters[0], case.sources.place(case.state.stack)
    owners = _owners(case, address)
    acquired = [
        next((e for e in case.newest_first(LockAcquired) if _is(e, address, owner)), None)
        for owner in owners
    ]
    for event in acquired:
        if event is not None:
            how = event.kind.split()[0]
            case.tell(event, f"Thread {event.thread} acquired the resource {address:#x} {how}.")
    case.tell_at_end(
        f"Thread {case.state.thread} released it. A resource is released by the thread that "
        "acquired it.",
        case.state.stack,
    )
    whose = f"it belongs to thread {owners[0]}" if owners else "nobody owns it"
    where = f", which acquired it at {acquired[0].where}" if acquired and acquired[0] else ""
    case.summary = f"A resource was released at {here} by a thread that does not own it; {whose}"
    case.summary += f"{where}."


def _is(event: LockAcquired, address: int, owner: str) -> bool:
    return event.lock == address and event.thread == owner


def _owners(case: Case, address: int) -> list[str]:
    """The threads that own the resource, as debuggers write them."""
    nt = case.nt
    held = {
        entry._v.OwnerThread
        for entry in owner_entries(ERESOURCE.at(nt.mmu, address))
        if owner_count(entry)
    }
    return [thread.text for va, thread in nt.ke.threads.items() if va in held]


EXPLAINS: dict[int, Explainer] = {0xE3: explain, 0x16E: explain}
