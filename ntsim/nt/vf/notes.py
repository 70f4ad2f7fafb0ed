"""What the report says about a violation besides the bug check's parameters."""

from __future__ import annotations

from dataclasses import dataclass, field

from ntsim.nt.ki.frames import StackFrame


@dataclass(slots=True)
class Moment:
    """Who did something, when, and by which way."""

    time: int
    processor: int
    thread: str
    stack: list[StackFrame]


@dataclass(slots=True)
class Note:
    """What explains a violation; `at` is None for what has no place in code."""

    text: str
    at: Moment | None = None


@dataclass(slots=True)
class Reason:
    """A sentence, and what led to it; `driver` is the address of a driver that has returned."""

    summary: str
    driver: int = 0
    notes: list[Note] = field(default_factory=list)
