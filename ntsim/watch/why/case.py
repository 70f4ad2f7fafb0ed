"""One bug check as its explainer sees it: events, the frozen machine, and the steps told so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from ntsim.abi import bugcodes
from ntsim.nt.events import BugChecked, Event
from ntsim.nt.ke.bugcheck import BugCheckState
from ntsim.nt.kernel import Kernel
from ntsim.nt.ki.frames import StackFrame
from ntsim.nt.vf.notes import Moment
from ntsim.watch.source import Sources

E = TypeVar("E", bound=Event)


@dataclass(slots=True)
class Step:
    """One step of a story. `source` is the line of code at `where`, empty if there is none."""

    time_100ns: int
    processor: int
    thread: str
    where: str
    source: str
    text: str


@dataclass(slots=True)
class Story:
    """Why a machine stopped: in one sentence, and step by step."""

    summary: str
    steps: list[Step]


class Case:
    """See the module docstring. Events are numbered in the order in which they happened."""

    def __init__(self, nt: Kernel, state: BugCheckState) -> None:
        self.nt, self.state = nt, state
        self.events = [e for e in nt.recorder.events() if not isinstance(e, BugChecked)]
        self.sources = Sources(nt)
        self.summary = ""
        self._told: dict[int, Step] = {}
        self._end: list[Step] = []

    @property
    def parameters(self) -> tuple[int, int, int, int]:
        return self.state.parameters

    @property
    def name(self) -> str:
        """`IRQL_GT_ZERO_AT_SYSTEM_SERVICE (0x4a)`."""
        return f"{bugcodes.name_of(self.state.code)} ({self.state.code:#x})"

    # Events

    def newest_first(
        self,
        kind: type[E],
        *,
        processor: int | None = None,
        thread: str | None = None,
        before: Event | None = None,
        after: Event | None = None,
    ) -> Iterator[E]:
        """Events of a kind, latest first, between two events if these are given."""
        start = len(self.events) if before is None else self._position(before)
        stop = -1 if after is None else self._position(after)
        for number in range(start - 1, stop, -1):
            event = self.events[number]
            if not isinstance(event, kind):
                continue
            if processor is not None and event.processor != processor:
                continue
            if thread is None or event.thread == thread:
                yield event

    def last(
        self,
        kind: type[E],
        *,
        processor: int | None = None,
        thread: str | None = None,
        before: Event | None = None,
        after: Event | None = None,
    ) -> E | None:
        """The latest event of a kind, None if there is none."""
        found = self.newest_first(
            kind, processor=processor, thread=thread, before=before, after=after
        )
        return next(found, None)

    def since(
        self, event: Event, *, processor: int | None = None, thread: str | None = None
    ) -> list[Event]:
        """What happened after an event, oldest first."""
        found = self.newest_first(Event, processor=processor, thread=thread, after=event)
        return list(found)[::-1]

    def _position(self, event: Event) -> int:
        """Where an event stands among `events`, which are looked through from the end."""
        number = len(self.events) - 1
        while self.events[number] is not event:
            number -= 1
        return number

    # Telling

    def tell(self, event: Event, text: str, where: str = "") -> None:
        """A step: what an event means here. The first text for an event stands.

        `where` is for events that the kernel recorded without a line.
        """
        place = event.where or where
        source = self.sources.line(place)
        step = Step(event.time, event.processor, event.thread, place, source, text)
        self._told.setdefault(self._position(event), step)

    def tell_at_end(
        self,
        text: str,
        stack: list[StackFrame] | None = None,
        processor: int | None = None,
        where: str = "",
    ) -> None:
        """A step at the time of the bug check, at `where` or the innermost driver line of `stack`.

        `processor` is whose stack it is, by default the one that stopped.
        """
        state = self.state
        where = where or (self.sources.place(stack) if stack else "")
        source = self.sources.line(where)
        owner = state.processors[state.processor if processor is None else processor]
        self._end.append(Step(state.time, owner.number, owner.thread, where, source, text))

    def tell_moment(self, text: str, moment: Moment | None) -> None:
        """A step that a check of the kernel kept for the report, before what the end tells."""
        state = self.state
        if moment is None:
            self._end.append(Step(state.time, state.processor, state.thread, "", "", text))
            return
        where = self.sources.place(moment.stack)
        source = self.sources.line(where)
        step = Step(moment.time, moment.processor, moment.thread, where, source, text)
        self._end.append(step)

    def story(self) -> Story:
        """What was told, in the order of events, ending in the bug check."""
        steps = [self._told[number] for number in sorted(self._told)] + self._end
        state = self.state
        if not self.events:
            steps.append(self._note("Nothing was recorded: build the machine with record=True."))
        elif self.nt.recorder.lost:
            steps.insert(0, self._lost())
        steps.append(self._note(f"Bug check {self.name} on processor {state.processor}."))
        return Story(self.summary, steps)

    def _note(self, text: str) -> Step:
        state = self.state
        return Step(state.time, state.processor, state.thread, "", "", text)

    def _lost(self) -> Step:
        first = self.events[0]
        text = f"{self.nt.recorder.lost} events before this time are no longer in the recorder."
        return Step(first.time, first.processor, "", "", "", text)


Explainer = Callable[[Case], None]
