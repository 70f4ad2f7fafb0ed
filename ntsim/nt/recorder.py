"""The bounded recorder: what happened lately, for reports and for `Machine.events`.

An occurrence is kept as a tuple and becomes an event object only when somebody looks, because most
are never looked at. The tuple holds the number of the event's class, not the class: Python's cyclic
garbage collector forgets tuples of numbers and strings, and would else visit all of them again and
again. The oldest fall out at the bound; `lost` says how many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ntsim.nt.events import KINDS, Event

CAPACITY = 65_536


class Recorder:
    """Keeps the last `CAPACITY` events; with `enabled` False it keeps none."""

    __slots__ = ("_keep", "_kept", "count", "enabled")

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self.count = 0
        self._kept: deque[tuple[Any, ...]] = deque(maxlen=CAPACITY)
        self._keep = self._kept.append

    def add(self, occurrence: tuple[Any, ...]) -> None:
        """Keep one occurrence: the number of the event's class, then its fields in order."""
        self.count += 1
        self._keep(occurrence)

    @property
    def lost(self) -> int:
        """Events that have fallen out."""
        return self.count - len(self._kept)

    def events(self) -> tuple[Event, ...]:
        """What is kept, oldest first."""
        return tuple(map(made, self._kept))


def made(occurrence: tuple[Any, ...]) -> Event:
    """The event object of what `Recorder.add` was given."""
    number, *fields = occurrence
    make: Callable[..., Event] = KINDS[number]
    return make(*fields)
