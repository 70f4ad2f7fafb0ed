"""KeQueryPerformanceCounter. Windows 10 counts at 10 MHz wherever the TSC is invariant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.large_integer import LargeIntegerValue
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.abi.rtl import LARGE_INTEGER, PLARGE_INTEGER
    from ntsim.nt.kernel import Kernel

FREQUENCY_HZ = 10_000_000


@export(irql="any")
def KeQueryPerformanceCounter(nt: Kernel, PerformanceFrequency: PLARGE_INTEGER) -> LARGE_INTEGER:
    """The counter, in virtual time, and optionally its frequency in Hz. Source: WDK."""
    if PerformanceFrequency:
        PerformanceFrequency.QuadPart = FREQUENCY_HZ
    return LargeIntegerValue(nt.il.now)  # type: ignore[return-value]
