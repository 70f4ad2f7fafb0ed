"""A LARGE_INTEGER returned by value: an int that has the union's members."""

from __future__ import annotations


class LargeIntegerValue(int):
    """64 bits, signed. `KeQueryPerformanceCounter(NULL).QuadPart` reads as in C."""

    @property
    def QuadPart(self) -> int:
        return int(self)

    @property
    def LowPart(self) -> int:
        """The low 32 bits, unsigned."""
        return self & 0xFFFF_FFFF

    @property
    def HighPart(self) -> int:
        """The high 32 bits, signed."""
        return self >> 32
