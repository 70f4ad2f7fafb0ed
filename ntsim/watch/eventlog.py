"""The event log of a machine as text: a line for each event, the same in each run of a schedule."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ntsim.nt.events import Event


def event_log(events: Iterable[Event]) -> str:
    """The whole log, oldest event first; empty if nothing was recorded."""
    return "".join(f"{event}\n" for event in events)


def write_event_log(events: Iterable[Event], path: Path) -> None:
    """Write the log to a file as UTF-8, newlines as they are. OSError if that fails."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"{event}\n" for event in events)
