"""A random processor for a random time: finds most races within a few seeds."""

from __future__ import annotations

from collections.abc import Sequence

from ntsim.hw.prng import Random

LONGEST = 400


class SeededRandom:
    """Turns of 1 to `LONGEST` steps; short ones are likelier, because races need them."""

    name = "random"

    def __init__(self, seed: int) -> None:
        self.random = Random(seed, "schedule")

    def choose(self, runnable: Sequence[int]) -> tuple[int, int]:
        number = runnable[self.random.below(len(runnable))] if len(runnable) > 1 else runnable[0]
        longest = 1 << self.random.below(9)
        return number, 1 + self.random.below(min(longest, LONGEST))
