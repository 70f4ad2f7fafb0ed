"""System time and local time, which lie KUSER_SHARED_DATA's time-zone bias apart.

Source: WDK ExSystemTimeToLocalTime, ExLocalTimeToSystemTime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.abi.rtl import PLARGE_INTEGER
    from ntsim.nt.kernel import Kernel


def time_zone_bias(nt: Kernel) -> int:
    """What UTC is ahead of local time, in 100 ns units."""
    v = nt.ke.shared_data._v
    high: int = v.TimeZoneBias_High1Time
    low: int = v.TimeZoneBias_LowPart
    return (high << 32) + low


@export(irql="any")
def ExSystemTimeToLocalTime(
    nt: Kernel, SystemTime: PLARGE_INTEGER, LocalTime: PLARGE_INTEGER
) -> None:
    """UTC minus the bias. Source: WDK ExSystemTimeToLocalTime."""
    LocalTime.QuadPart = SystemTime.QuadPart - time_zone_bias(nt)


@export(irql="any")
def ExLocalTimeToSystemTime(
    nt: Kernel, LocalTime: PLARGE_INTEGER, SystemTime: PLARGE_INTEGER
) -> None:
    """Local time plus the bias. Source: WDK ExLocalTimeToSystemTime."""
    SystemTime.QuadPart = LocalTime.QuadPart + time_zone_bias(nt)
