"""Every event of a run as a line of a file; the recorder of a machine keeps only the last ones."""

from __future__ import annotations

from typing import Any, TextIO

from ntsim.nt.recorder import Recorder, made


class EventLog(Recorder):
    """A recorder that also writes each event to `file` as it happens."""

    __slots__ = ("_only_keep", "file")

    def __init__(self, file: TextIO) -> None:
        super().__init__()
        self.file = file
        self._only_keep, self.keep = self.keep, self._keep_and_write

    def _keep_and_write(self, occurrence: tuple[Any, ...]) -> None:
        self._only_keep(occurrence)
        self.file.write(f"{made(occurrence)}\n")
