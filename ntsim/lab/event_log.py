"""Every event of a run as a line of a file; the recorder of a machine keeps only the last ones."""

from __future__ import annotations

from typing import Any, TextIO

from ntsim.nt.recorder import Recorder, made


class EventLog(Recorder):
    """A recorder that also writes each event to `file` as it happens."""

    __slots__ = ("file",)

    def __init__(self, file: TextIO) -> None:
        super().__init__()
        self.file = file

    def add(self, occurrence: tuple[Any, ...]) -> None:
        """Keep one occurrence and write its line."""
        super().add(occurrence)
        self.file.write(f"{made(occurrence)}\n")
