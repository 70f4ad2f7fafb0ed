"""0x76: a process ended while pages of it are locked."""

from __future__ import annotations

from ntsim.nt.events import PagesLocked, PagesUnlocked
from ntsim.watch.why import general
from ntsim.watch.why.case import Case, Explainer

LATEST = 3


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


def _standing(case: Case, process: int) -> list[PagesLocked]:
    """The locks of the process that are not undone, oldest first."""
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


EXPLAINS: dict[int, Explainer] = {0x76: explain}
