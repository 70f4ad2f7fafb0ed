"""Bitmaps. Source: WDK RtlInitializeBitMap, RtlFindClearBits; ReactOS rtl tests RtlBitmap.c."""

import pytest

from ntsim.wdm import *


def bitmap(bits: int, size: int = 64):
    made = RTL_BITMAP()
    buffer = cast(ExAllocatePoolWithTag(NonPagedPoolNx, 64, 1), PULONG)
    write_bytes(buffer, bits.to_bytes(-(-size // 32) * 4, "little"))
    RtlInitializeBitMap(made, buffer, size)
    return made


def content(made) -> int:
    return int.from_bytes(read_bytes(made.Buffer, -(-made.SizeOfBitMap // 32) * 4), "little")


def test_ranges_are_set_and_cleared_across_bytes(value_of) -> None:
    def body() -> list[int]:
        made = bitmap(0)
        RtlSetBits(made, 5, 20)
        found = [content(made)]
        RtlClearBits(made, 10, 3)
        RtlSetBit(made, 63)
        RtlClearBit(made, 5)
        RtlSetBits(made, 0, 0)
        return [*found, content(made), RtlTestBit(made, 63), RtlCheckBit(made, 5)]

    whole = ((1 << 20) - 1) << 5
    assert value_of(body) == [whole, (whole & ~(7 << 10) | 1 << 63) & ~(1 << 5), True, False]


def test_all_bits_are_whole_ulongs(value_of) -> None:
    def body() -> list[int]:
        made = bitmap(0, 33)
        RtlSetAllBits(made)
        found = [content(made), RtlNumberOfSetBits(made), RtlNumberOfClearBits(made)]
        RtlClearAllBits(made)
        return [*found, content(made), RtlNumberOfClearBits(made)]

    assert value_of(body) == [2**64 - 1, 33, 0, 0, 33]


def test_a_range_past_the_end_or_empty_is_neither_clear_nor_set(value_of) -> None:
    def body() -> list[bool]:
        made = bitmap(0xF0, 40)
        return [
            RtlAreBitsSet(made, 4, 4), RtlAreBitsSet(made, 4, 5), RtlAreBitsSet(made, 4, 0),
            RtlAreBitsClear(made, 8, 32), RtlAreBitsClear(made, 8, 33),
            RtlAreBitsClear(made, 40, 1), RtlAreBitsClear(made, 0, 4),
        ]  # fmt: skip

    assert value_of(body) == [True, False, False, True, False, False, True]


@pytest.mark.parametrize(
    ("bits", "count", "hint", "expected"),
    [
        (0x00FF, 4, 0, 8), (0x00FF, 4, 20, 20), (0xF0FF, 4, 0, 8), (0xF0FF, 5, 0, 16),
        (0xFFFF_FFFF_FFFF_0FFF, 4, 40, 12), (0xFFFF_FFFF_FFFF_FFFF, 1, 0, 0xFFFF_FFFF),
        (0, 64, 0, 0), (0, 65, 0, 0xFFFF_FFFF), (0, 1, 99, 0), (0, 64, 5, 0),
    ],
)  # fmt: skip
def test_clear_bits_are_found_from_the_hint_then_from_the_start(
    value_of, bits: int, count: int, hint: int, expected: int
) -> None:
    def body() -> list[int]:
        inverse = bitmap(~bits & 2**64 - 1)
        return [
            RtlFindClearBits(bitmap(bits), count, hint),
            RtlFindSetBits(inverse, count, hint),
        ]

    assert value_of(body) == [expected, expected]


def test_what_is_found_can_be_taken_at_once(value_of) -> None:
    def body() -> list[int]:
        made = bitmap(0)
        found = [RtlFindClearBitsAndSet(made, 30, 0) for _ in range(3)]
        return [*found, RtlFindSetBitsAndClear(made, 40, 10), content(made)]

    assert value_of(body) == [0, 30, 0xFFFF_FFFF, 10, 2**60 - 1 & ~((2**40 - 1) << 10)]


def test_single_numbers(value_of) -> None:
    def body() -> list[int]:
        return [
            RtlFindMostSignificantBit(0), RtlFindMostSignificantBit(0x8000_0000_0000_0001),
            RtlFindLeastSignificantBit(0), RtlFindLeastSignificantBit(0x8000_0000_0000_0010),
            RtlNumberOfSetBitsUlongPtr(0xFF01),
        ]  # fmt: skip

    assert value_of(body) == [-1, 63, -1, 4, 9]


def test_a_bitmap_without_memory_faults(bugcheck_of) -> None:
    def body() -> None:
        made = RTL_BITMAP()
        RtlInitializeBitMap(made, 0xFFFF_F980_1234_5678, 64)
        RtlSetBits(made, 0, 8)

    assert bugcheck_of(body).code == 0x50
