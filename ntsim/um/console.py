"""What an app prints: a stream per process, and the host's own streams while a machine runs.

An app file prints through its own `sys`. A callable, and library code, uses the host's
`sys.stdout`: while processors run, that is a switch that passes text of user-mode code to its
process and everything else on.
"""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

from greenlet import getcurrent


class Capture(io.BytesIO):
    """Bytes that survive closing; `said` hears the text as it comes."""

    def __init__(self, said: Callable[[str], None]) -> None:
        super().__init__()
        self.said = said
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, data: Any) -> int:
        self.said(self.decoder.decode(bytes(data)))
        return super().write(data)

    def close(self) -> None:
        """An app may close its streams; what it printed stays."""


class ProcessStream(io.TextIOWrapper):
    """A process's stdout or stderr: UTF-8, lines end in `\\n`, unbuffered; `said` hears it."""

    def __init__(self, name: str, said: Callable[[str], None]) -> None:
        self.captured = Capture(said)
        super().__init__(
            self.captured, "utf-8", "backslashreplace", newline="\n", write_through=True
        )
        self.label = name

    def close(self) -> None:
        """Kept open: a later print of the process still arrives."""

    def text(self) -> str:
        """Everything written so far."""
        return self.captured.getvalue().decode("utf-8", "replace")


class Switch(io.TextIOBase):
    """Stands in for a stream of the host while machines run: `users` of them."""

    def __init__(self, original: Any, name: str) -> None:
        self.original, self.stream_name, self.users = original, name, 0

    def _target(self) -> Any:
        user = getattr(getcurrent(), "user", None)
        if user is None or user.thread.in_kernel:
            return self.original
        return getattr(user.process, self.stream_name)

    def write(self, text: str) -> int:
        return int(self._target().write(text))

    def flush(self) -> None:
        self._target().flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target(), name)


@contextmanager
def switched_streams() -> Iterator[None]:
    """Let user-mode code print to its process's streams; for the time that processors run.

    Machines that run at the same time, on threads of the host or one inside the other, share a
    switch: the last one to leave puts the host's stream back.
    """
    with _LOCK:
        switches = _take("stdout", "out"), _take("stderr", "err")
    try:
        yield
    finally:
        with _LOCK:
            _give_back("stdout", switches[0])
            _give_back("stderr", switches[1])


_LOCK = RLock()


def _take(stream: str, name: str) -> Switch:
    """The switch that stands in for a stream of the host, put there if it is not."""
    found = getattr(sys, stream)
    if not isinstance(found, Switch):
        found = Switch(found, name)
        setattr(sys, stream, found)
    found.users += 1
    return found


def _give_back(stream: str, switch: Switch) -> None:
    """One user less; after the last the host has its stream again, unless somebody replaced it."""
    switch.users -= 1
    if not switch.users and getattr(sys, stream) is switch:
        setattr(sys, stream, switch.original)
