"""Virtual time: one clock for the machine, advanced by work, never by the host.

Processors share it like virtual processors on one core. The unit of work is a *step* (an export
call, an inserted scheduling point, a block of compiled code); one step is 100 ns. Intel's invariant
TSC runs at the nominal frequency of the modelled CPU.
"""

from __future__ import annotations

from collections.abc import Callable

STEP_100NS = 1
"""What one step costs, in units of 100 ns."""

TICK_100NS = 156_250
"""Period of a processor's clock interrupt: 15.625 ms, Windows' default."""

BOOT_TIME_100NS = 132_512_544_000_000_000
"""System time at power-on in 100 ns since 1601: 2020-12-01 00:00 UTC, the same in every run."""

_100NS_PER_SECOND = 10_000_000


class Clock:
    """Interrupt time `now` in 100 ns units since power-on.

    It is advanced at the end of each processor's turn; `exact()` counts the turn under way too.
    """

    __slots__ = ("exact", "now", "tsc_hz")

    def __init__(self, tsc_hz: int = 2_700_000_000) -> None:
        self.now = 0
        self.exact: Callable[[], int] = lambda: self.now
        self.tsc_hz = tsc_hz

    @property
    def tsc(self) -> int:
        """The time-stamp counter, the same on every processor."""
        return self.tsc_at(self.exact())

    def tsc_at(self, time_100ns: int) -> int:
        """The time-stamp counter at an interrupt time."""
        return time_100ns * self.tsc_hz // _100NS_PER_SECOND

    def when(self, tsc: int) -> int:
        """The first interrupt time at which the time-stamp counter is not below `tsc`."""
        return -(-tsc * _100NS_PER_SECOND // self.tsc_hz)

    @property
    def system_time(self) -> int:
        """100 ns units since 1 January 1601 UTC."""
        return BOOT_TIME_100NS + self.now
