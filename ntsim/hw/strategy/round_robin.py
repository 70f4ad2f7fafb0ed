"""Every runnable processor in turn, the same quantum each: the simplest fair schedule."""

from __future__ import annotations

from collections.abc import Sequence

QUANTUM = 200
"""Steps a turn."""


class RoundRobin:
    """The default for seed 0."""

    name = "rr"

    def __init__(self) -> None:
        self.last = -1

    def choose(self, runnable: Sequence[int]) -> tuple[int, int]:
        """The next processor number after the last one."""
        number = next((n for n in runnable if n > self.last), runnable[0])
        self.last = number
        return number, QUANTUM
