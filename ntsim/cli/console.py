"""A run as it is seen while it goes on: output as it appears, progress, Ctrl-C, the time limit.

The machine asks `poll` at the end of each processor's turn: this is where Ctrl-C and `--limit` take
effect, so that no code of a driver is broken off in the middle. A second Ctrl-C, for code of the
host that never gives its turn up, takes effect at once.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import rich_click as click

from ntsim.errors import Hang

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from ntsim.lab.event_log import EventLog
    from ntsim.machine import Machine

PROGRESS_AFTER_S, PROGRESS_EVERY_S = 1.0, 0.25
ERASE_LINE = "\r\x1b[K"


class Console:
    """Give `watch` to the run; `finish` when it is over. A context manager for Ctrl-C's sake.

    `limit` is in host seconds, None for none. With `live`, what apps and DbgPrint say is printed as
    it is said.
    """

    def __init__(self, limit: float | None, live: bool) -> None:
        self.live = live
        self.event_log: EventLog | None = None
        self.machine: Machine | None = None
        # While processors run, sys.stdout belongs to whichever app is running.
        self._out, self._err = sys.stdout, sys.stderr
        self._limit = limit
        self._started = time.monotonic()
        self._next_progress = self._started + PROGRESS_AFTER_S
        self._shows_progress = sys.stderr.isatty()
        self._progress_is_shown = False
        self._interrupted = False
        self._broken: OSError | None = None
        self._previous: Any = None
        self._styled: RichConsole | None = None

    def __enter__(self) -> Console:
        self._previous = signal.signal(signal.SIGINT, self._on_ctrl_c)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.finish()
        signal.signal(signal.SIGINT, self._previous)

    def watch(self, machine: Machine) -> None:
        """Called with the machine before anything is loaded."""
        self.machine = machine
        if self.event_log is not None:
            machine.nt.recorder = self.event_log
        machine.nt.il.poll = self.poll
        if self.live:
            machine.nt.said = self.said

    def said(self, source: str, text: str) -> None:
        """One piece of output: `source` is "DbgPrint", "stdout" or "stderr".

        Simulated code is running: an output that has gone away is reported from `poll`.
        """
        if self._broken is not None:
            return
        try:
            self.clear_progress()
            if source == "DbgPrint":
                self.print_dimmed(f"DbgPrint: {text}")
            else:
                click.echo(text, self._err if source == "stderr" else self._out, nl=False)
        except OSError as error:
            self._broken = error

    def poll(self) -> None:
        """After every turn of a processor."""
        if self._interrupted:
            raise KeyboardInterrupt
        if self._broken is not None:
            raise self._broken
        now = time.monotonic()
        if self._limit is not None and now - self._started >= self._limit:
            raise Hang((), f"not finished after {self._limit:g} s of real time (--limit)")
        if self._shows_progress and now >= self._next_progress:
            self._next_progress = now + PROGRESS_EVERY_S
            self.show_progress(now)

    def show_progress(self, now: float) -> None:
        assert self.machine is not None
        nt = self.machine.nt
        text = (
            f"{now - self._started:.0f} s: {nt.clock.now / 1e7:.3f} s of virtual time, "
            f"{nt.recorder.count:,} events; Ctrl-C stops"
        )
        click.echo(f"{ERASE_LINE}{text}", self._err, nl=False)
        self._progress_is_shown = True

    def clear_progress(self) -> None:
        if self._progress_is_shown:
            click.echo(ERASE_LINE, self._err, nl=False)
            self._progress_is_shown = False

    def finish(self) -> None:
        """The run is over: the line of progress goes."""
        self.clear_progress()
        self.machine = None

    def _on_ctrl_c(self, number: int, frame: FrameType | None) -> None:
        running = self.machine is not None and self.machine.nt.il.hub is not None
        if self._interrupted or not running:
            raise KeyboardInterrupt
        self._interrupted = True

    def print_dimmed(self, text: str) -> None:
        """A line in a fainter colour, where the terminal has colours and the user wants them."""
        if not self._out.isatty() or os.environ.get("NO_COLOR"):
            click.echo(text, self._out)
            return
        if self._styled is None:
            from rich.console import Console as RichConsole

            self._styled = RichConsole(file=self._out)
        self._styled.print(
            text, style="dim", markup=False, highlight=False, emoji=False, soft_wrap=True
        )
