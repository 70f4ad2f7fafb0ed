"""What the report says about a violation besides the bug check's parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING

from ntsim.nt.ki.frames import StackFrame, describe_frame

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


@dataclass(slots=True)
class Moment:
    """Who did something, when, and by which way."""

    time: int
    processor: int
    thread: str
    stack: list[StackFrame]


@dataclass(slots=True)
class Place:
    """A moment in a driver's routine that is still running; its frame is looked at when asked."""

    time: int
    processor: int
    thread: str
    frame: FrameType | None
    line: int
    stack: list[StackFrame]

    def moment(self, nt: Kernel) -> Moment:
        """With the frame of the routine."""
        found = None if self.frame is None else describe_frame(nt, self.frame, self.line)
        stack = self.stack if found is None else [found]
        return Moment(self.time, self.processor, self.thread, stack)


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
