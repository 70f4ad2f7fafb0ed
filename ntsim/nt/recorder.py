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
    """Keeps the last `CAPACITY` events; with `enabled` False it keeps none.

    Who has one counts it in `count` and gives it to `keep`: a tuple of the number of the event's
    class and its fields in order.
    """

    __slots__ = ("_kept", "count", "enabled", "keep")

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self.count = 0
        self._kept: deque[tuple[Any, ...]] = deque(maxlen=CAPACITY)
        self.keep: Callable[[tuple[Any, ...]], object] = self._kept.append

    @property
    def lost(self) -> int:
        """Events that have fallen out."""
        return self.count - len(self._kept)

    def events(self) -> tuple[Event, ...]:
        """What is kept, oldest first."""
        return tuple(map(made, self._kept))


def made(occurrence: tuple[Any, ...]) -> Event:
    """The event object of what a `Recorder` was given."""
    number, *fields = occurrence
    make: Callable[..., Event] = KINDS[number]
    return make(*fields)
