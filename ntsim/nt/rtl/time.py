"""System time (100 ns units since 1601) and calendar fields. Source: WDK RtlTimeToTimeFields."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from ntsim.abi.scalars import BOOLEAN, ULONG
from ntsim.abi.time_fields import TIME_FIELDS
from ntsim.nt.exports import Out, export

if TYPE_CHECKING:
    from ntsim.abi.rtl import PLARGE_INTEGER
    from ntsim.abi.time_fields import PTIME_FIELDS
    from ntsim.nt.kernel import Kernel

TICKS_PER_SECOND = 10_000_000
TICKS_PER_DAY = 86_400 * TICKS_PER_SECOND
EPOCH = date(1601, 1, 1).toordinal()
LAST_DAY = date.max.toordinal() - EPOCH
SECONDS_1601_TO_1970 = 11_644_473_600
SECONDS_1601_TO_1980 = 11_960_006_400
assert TIME_FIELDS.size == 0x10


@export(irql="any")
def RtlTimeToTimeFields(nt: Kernel, Time: PLARGE_INTEGER, TimeFields: PTIME_FIELDS) -> None:
    """Split a system time; Sunday is weekday 0. Source: WDK RtlTimeToTimeFields."""
    days, rest = divmod(Time.QuadPart, TICKS_PER_DAY)
    day = date.fromordinal(EPOCH + min(days, LAST_DAY))
    seconds, ticks = divmod(rest, TICKS_PER_SECOND)
    v = TimeFields._v
    v.Year, v.Month, v.Day = day.year, day.month, day.day
    v.Hour, v.Minute, v.Second = seconds // 3600, seconds // 60 % 60, seconds % 60
    v.Milliseconds = ticks // 10_000
    v.Weekday = (days + 1) % 7


@export(irql="any")
def RtlTimeFieldsToTime(nt: Kernel, TimeFields: PTIME_FIELDS, Time: PLARGE_INTEGER) -> BOOLEAN:
    """Put a system time together; FALSE if a field is out of range. Source: WDK."""
    v = TimeFields._v
    try:
        day = date(v.Year, v.Month, v.Day)
    except ValueError:
        return False
    in_range = v.Year >= 1601 and 0 <= v.Milliseconds < 1000
    if not (in_range and 0 <= v.Hour < 24 and 0 <= v.Minute < 60 and 0 <= v.Second < 60):
        return False
    seconds = v.Hour * 3600 + v.Minute * 60 + v.Second
    Time.QuadPart = (
        (day.toordinal() - EPOCH) * TICKS_PER_DAY
        + seconds * TICKS_PER_SECOND
        + v.Milliseconds * 10_000
    )
    return True


@export(irql="<= APC")
def RtlTimeToSecondsSince1970(
    nt: Kernel, Time: PLARGE_INTEGER, ElapsedSeconds: Out[ULONG]
) -> BOOLEAN:
    """Seconds since 1970; FALSE if they do not fit 32 bits. Source: WDK."""
    seconds = Time.QuadPart // TICKS_PER_SECOND - SECONDS_1601_TO_1970
    fits = 0 <= seconds <= 0xFFFF_FFFF
    if fits:
        ElapsedSeconds[0] = seconds
    return fits


@export(irql="<= APC")
def RtlTimeToSecondsSince1980(
    nt: Kernel, Time: PLARGE_INTEGER, ElapsedSeconds: Out[ULONG]
) -> BOOLEAN:
    """Seconds since 1980; FALSE if they do not fit 32 bits. Source: WDK."""
    seconds = Time.QuadPart // TICKS_PER_SECOND - SECONDS_1601_TO_1980
    fits = 0 <= seconds <= 0xFFFF_FFFF
    if fits:
        ElapsedSeconds[0] = seconds
    return fits


@export(irql="any")
def RtlSecondsSince1970ToTime(nt: Kernel, ElapsedSeconds: ULONG, Time: PLARGE_INTEGER) -> None:
    """The system time of a number of seconds since 1970. Source: WDK."""
    Time.QuadPart = (ElapsedSeconds + SECONDS_1601_TO_1970) * TICKS_PER_SECOND
