"""0x76, 0x4E: a process ended, or pool was freed, while pages of it are locked."""

from __future__ import annotations

from ntsim.abi.mm import MDL
from ntsim.nt.events import PagesLocked, PagesUnlocked
from ntsim.watch.why import general
from ntsim.watch.why.case import Case, Explainer

LATEST = 3
STILL_LOCKED = 0x9A


def explain(case: Case) -> None:
    """Each lock that nothing has undone."""
    _, process, pages, _ = case.parameters
    standing = _standing(case, process)
    if not standing:
        general.explain(case)
        return
    for event in standing[-LATEST:]:
        case.tell(
            event,
            f"{_counted(event.pages)} of the process locked for the MDL at {event.mdl:#x}. "
            "Nothing undid that: freeing the MDL does not.",
        )
    case.tell_at_end(f"The process ended with {_counted(pages)} locked.")
    where = standing[-1].where
    case.summary = (
        f"A process ended while pages of it are locked: MmProbeAndLockPages at {where} has no "
        "MmUnlockPages."
    )


def _counted(pages: int) -> str:
    return f"{pages} page" if pages == 1 else f"{pages} pages"


def explain_pages(case: Case) -> None:
    """The lock of a page that was freed with it."""
    kind, pfn, _, _ = case.parameters
    standing = [event for event in _standing(case, 0) if pfn in _frames(case, event)]
    if kind != STILL_LOCKED or not standing:
        general.explain(case)
        return
    lock = standing[-1]
    case.tell(
        lock,
        f"{_counted(lock.pages)} locked for the MDL at {lock.mdl:#x}. Nothing undid that.",
    )
    case.tell_at_end(f"The memory of the page {pfn:#x} was freed.", case.state.stack)
    case.summary = (
        f"Memory was freed at {case.sources.place(case.state.stack)} while a page of it is locked: "
        f"MmProbeAndLockPages at {lock.where} has no MmUnlockPages."
    )


def _frames(case: Case, event: PagesLocked) -> list[int]:
    """The page frame numbers in the MDL, as they are now."""
    data = case.nt.mmu.read(event.mdl + MDL.size, 8 * event.pages)
    return [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]


def _standing(case: Case, process: int) -> list[PagesLocked]:
    """The locks of the process, 0 for system memory, that are not undone, oldest first."""
    undone: list[int] = []
    standing: list[PagesLocked] = []
    for event in case.newest_first(PagesLocked | PagesUnlocked):  # type: ignore[arg-type]
        if isinstance(event, PagesUnlocked):
            undone.append(event.mdl)
        elif event.mdl in undone:
            undone.remove(event.mdl)
        elif event.process == process:
            standing.append(event)
    return standing[::-1]


EXPLAINS: dict[int, Explainer] = {0x76: explain, 0x4E: explain_pages}
