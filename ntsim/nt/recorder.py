"""The bounded recorder: what happened lately, for reports and for `Machine.events`.

An occurrence is kept as a tuple and becomes an event object only when somebody looks, because most
are never looked at. The oldest fall out at the bound; `lost` says how many.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from ntsim.nt.events import Event

CAPACITY = 65_536


class Recorder:
    """Keeps the last `CAPACITY` events; with `enabled` False it keeps none."""

    __slots__ = ("_kept", "count", "enabled")

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self.count = 0
        self._kept: deque[tuple[type[Event], tuple[Any, ...]]] = deque(maxlen=CAPACITY)

    def add(self, kind: type[Event], fields: tuple[Any, ...]) -> None:
        """Keep one occurrence; `fields` in the order of the event class."""
        self.count += 1
        self._kept.append((kind, fields))

    @property
    def lost(self) -> int:
        """Events that have fallen out."""
        return self.count - len(self._kept)

    def events(self) -> tuple[Event, ...]:
        """What is kept, oldest first."""
        return tuple(kind(*fields) for kind, fields in self._kept)
