"""TIME_FIELDS: a point in time in calendar units (wdm.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import SHORT
from ntsim.abi.structure import Structure, at


class TIME_FIELDS(Structure, size=0x10):
    Year: SHORT = at(0x00)
    Month: SHORT = at(0x02)
    Day: SHORT = at(0x04)
    Hour: SHORT = at(0x06)
    Minute: SHORT = at(0x08)
    Second: SHORT = at(0x0A)
    Milliseconds: SHORT = at(0x0C)
    Weekday: SHORT = at(0x0E)


if TYPE_CHECKING:
    PTIME_FIELDS = TIME_FIELDS
