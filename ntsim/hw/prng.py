"""Our own pseudo-random numbers: the same sequence on every machine and Python version.

SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014): one
64-bit counter, good enough to scatter page frames and choose processors, trivially versioned.
"""

from __future__ import annotations

from typing import TypeVar

_MASK = 0xFFFF_FFFF_FFFF_FFFF
T = TypeVar("T")


class Random:
    """A stream of numbers from `seed`; `purpose` gives independent streams from one seed."""

    __slots__ = ("_state",)

    def __init__(self, seed: int, purpose: str = "") -> None:
        self._state = seed & _MASK
        for byte in purpose.encode():
            self._state = (self.next() ^ byte) & _MASK

    def next(self) -> int:
        """The next 64 bits."""
        self._state = (self._state + 0x9E37_79B9_7F4A_7C15) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58_476D_1CE4_E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D0_49BB_1331_11EB) & _MASK
        return z ^ (z >> 31)

    def below(self, limit: int) -> int:
        """A number from 0 up to but not including `limit`."""
        return self.next() % limit

    def shuffle(self, items: list[T]) -> None:
        """Fisher-Yates, in place."""
        for i in range(len(items) - 1, 0, -1):
            j = self.next() % (i + 1)
            items[i], items[j] = items[j], items[i]
