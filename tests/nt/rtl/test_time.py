"""System time and calendar fields."""

import pytest

from ntsim.wdm import *


@pytest.mark.parametrize(
    ("ticks", "fields"),
    [
        (0, (1601, 1, 1, 0, 0, 0, 0, 1)),
        (116_444_736_000_000_000, (1970, 1, 1, 0, 0, 0, 0, 4)),
        (132_512_544_000_000_000 + 123 * 10_000, (2020, 12, 1, 0, 0, 0, 123, 2)),
    ],
)
def test_time_to_fields_and_back(value_of, ticks: int, fields: tuple[int, ...]) -> None:
    def work() -> list[object]:
        time, split, back = LARGE_INTEGER(), TIME_FIELDS(), LARGE_INTEGER()
        time.QuadPart = ticks
        RtlTimeToTimeFields(time, split)
        found = (
            split.Year, split.Month, split.Day, split.Hour, split.Minute, split.Second,
            split.Milliseconds, split.Weekday,
        )  # fmt: skip
        return [found, RtlTimeFieldsToTime(split, back), back.QuadPart]

    assert value_of(work) == [fields, True, ticks]


def test_fields_out_of_range_are_refused(value_of) -> None:
    def work() -> list[bool]:
        fields, time = TIME_FIELDS(), LARGE_INTEGER()
        fields.Year, fields.Month, fields.Day = 2021, 2, 29
        first = RtlTimeFieldsToTime(fields, time)
        fields.Day, fields.Hour = 28, 24
        return [first, RtlTimeFieldsToTime(fields, time)]

    assert value_of(work) == [False, False]


def test_seconds_since_1970_and_1980(value_of) -> None:
    def work() -> list[object]:
        time = LARGE_INTEGER()
        RtlSecondsSince1970ToTime(1_000_000_000, time)
        seconds = [RtlTimeToSecondsSince1970(time), RtlTimeToSecondsSince1980(time)]
        time.QuadPart = 5
        return [*seconds, RtlTimeToSecondsSince1970(time)[0]]

    assert value_of(work) == [(True, 1_000_000_000), (True, 1_000_000_000 - 315_532_800), False]
