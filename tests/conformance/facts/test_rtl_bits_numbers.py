"""Facts of bitmaps and of numbers as text, which ntdll and the kernel share."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import Facts, as_tests, text_of

BITMAP = Facts("Wine dlls/ntdll/tests/rtlbitmap.c")
NUMBER = Facts("Wine dlls/ntdll/tests/rtlstr.c")
TAG = 0x74736554
SIZE = 256


def bitmap(fill: int = 0, bits: int = SIZE * 8) -> tuple[Any, int]:
    """An RTL_BITMAP over 256 bytes, and their address."""
    block = ExAllocatePoolWithTag(NonPagedPool, SIZE, TAG)
    write_bytes(block, bytes([fill]) * SIZE)
    made = RTL_BITMAP()
    RtlInitializeBitMap(made, block, bits)
    return made, block


@BITMAP.fact([800, True, bytes([77]) + bytes(15)])
def initializing_does_not_write_the_bits() -> list[Any]:
    block = ExAllocatePoolWithTag(NonPagedPool, 128, TAG)
    write_bytes(block, bytes([77]) + bytes(127))
    made = RTL_BITMAP()
    RtlInitializeBitMap(made, block, 800)
    return [made.SizeOfBitMap, int(made.Buffer) == block, read_bytes(block, 16)]


@BITMAP.fact(lambda fill: bytes([fill ^ 0xFF]) * 4 + bytes([fill]), fill=[0, 0xFF])
def all_bits_are_whole_ulongs_of_them(fill: int) -> bytes:
    made, block = bitmap(fill, 1)
    if fill:
        RtlClearAllBits(made)
    else:
        RtlSetAllBits(made)
    return read_bytes(block, 5)


RANGES = [(0, 1), (7, 2), (7, 10), (0, 8), (17, 33), (31, 2), (SIZE * 8 - 1, 1)]


def bytes_with(ranges: list[tuple[int, int]], inverted: bool = False) -> bytes:
    number = 0
    for start, count in ranges:
        number |= ((1 << count) - 1) << start
    if inverted:
        number ^= (1 << SIZE * 8) - 1
    return number.to_bytes(SIZE, "little")


@BITMAP.fact(lambda span, clear: bytes_with([span], clear), span=RANGES, clear=[False, True])
def a_range_is_changed_and_nothing_beside_it(span: tuple[int, int], clear: bool) -> bytes:
    made, block = bitmap(0xFF if clear else 0)
    (RtlClearBits if clear else RtlSetBits)(made, *span)
    return read_bytes(block, SIZE)


@BITMAP.fact([False, True, False, False], span=[*RANGES[1:3], (100, 33)], clear=[False, True])
def a_range_is_found_whole_and_not_one_bit_more(span: tuple[int, int], clear: bool) -> list[bool]:
    made, _ = bitmap(0xFF if clear else 0)
    are = RtlAreBitsClear if clear else RtlAreBitsSet
    start, count = span
    found = [bool(are(made, start, count))]
    (RtlClearBits if clear else RtlSetBits)(made, start, count)
    found += [bool(are(made, start, count)), bool(are(made, start - 1, count + 1))]
    return [*found, bool(are(made, start, count + 1))]


@BITMAP.fact([True, True, True, True, False, False])
def single_bits_are_checked() -> list[bool]:
    made, _ = bitmap()
    for span in ((0, 1), (7, 2), (SIZE * 8 - 1, 1)):
        RtlSetBits(made, *span)
    return [bool(RtlCheckBit(made, at)) for at in (0, 7, 8, SIZE * 8 - 1, 1, SIZE * 8 - 2)]


@BITMAP.fact([0, 1, 9, 42, 43], clear=[False, True])
def bits_are_counted(clear: bool) -> list[int]:
    made, _ = bitmap(0xFF if clear else 0)
    count = RtlNumberOfClearBits if clear else RtlNumberOfSetBits
    found = [count(made)]
    for span in ((0, 1), (7, 8), (17, 33), (SIZE * 8 - 1, 1)):
        (RtlClearBits if clear else RtlSetBits)(made, *span)
        found.append(count(made))
    return found


@BITMAP.fact([40, True], hint=[0, 50], clear=[False, True])
def a_run_is_found_and_turned_from_any_hint(hint: int, clear: bool) -> list[Any]:
    made, _ = bitmap(0xFF if clear else 0)
    if clear:
        RtlClearBits(made, 40, 77)
        return [RtlFindClearBitsAndSet(made, 77, hint), bool(RtlAreBitsSet(made, 40, 77))]
    RtlSetBits(made, 40, 77)
    return [RtlFindSetBitsAndClear(made, 77, hint), bool(RtlAreBitsClear(made, 40, 77))]


@BITMAP.fact(
    lambda longest: [0, 1, (0, SIZE * 8), 2, {(7, 19), (1877, 33)} if longest else
                     {(7, 19), (101, 3)}, 3],
    longest=[False, True],
)  # fmt: skip
def clear_runs_are_listed_in_order_or_the_longest(longest: bool) -> list[Any]:
    runs = cast(ExAllocatePoolWithTag(NonPagedPool, 128, TAG), PRTL_BITMAP_RUN)
    full, _ = bitmap(0xFF)
    found: list[Any] = [RtlFindClearRuns(full, runs, 16, longest)]
    empty, _ = bitmap()
    found.append(RtlFindClearRuns(empty, runs, 16, longest))
    found.append((runs[0].StartingIndex, runs[0].NumberOfBits))
    for span in ((7, 19), (101, 3), (1877, 33)):
        RtlClearBits(full, *span)
    found.append(RtlFindClearRuns(full, runs, 2, longest))
    found.append({(run.StartingIndex, run.NumberOfBits) for run in (runs[0], runs[1])})
    return [*found, RtlFindClearRuns(full, runs, 3, longest)]


@BITMAP.fact([33, 1877])
def the_longest_run_is_found() -> list[int]:
    made, _ = bitmap(0xFF)
    for span in ((7, 19), (101, 3), (1877, 33)):
        RtlClearBits(made, *span)
    start = ULONG()
    length = RtlFindLongestRunClear(made, start)
    return [length, start[0]]


RUNS = Facts("WDK RtlFindFirstRunClear, RtlFindNextForwardRunClear, RtlFindLastBackwardRunClear")


@RUNS.fact([(19, 7), (16, 10), (3, 101), (0, 2000), (3, 101), (4, 7), (0, 6)])
def runs_are_found_from_a_bit_on_and_back_from_one() -> list[Any]:
    made, _ = bitmap(0xFF)
    for span in ((7, 19), (101, 3)):
        RtlClearBits(made, *span)
    at = ULONG()
    found = [(RtlFindFirstRunClear(made, at), at[0])]
    for index in (10, 40, 2000):
        found.append((RtlFindNextForwardRunClear(made, index, at), at[0]))
    for index in (110, 10, 6):
        found.append((RtlFindLastBackwardRunClear(made, index, at), at[0]))
    return found


@BITMAP.fact(lambda bit: [bit] * 4, bit=[0, 1, 31, 32, 62, 63])
def the_highest_and_lowest_bits_are_numbered(bit: int) -> list[int]:
    one = 1 << bit
    low, high = 2 * one - 1, (1 << 64) - one
    return [RtlFindMostSignificantBit(one), RtlFindMostSignificantBit(low),
            RtlFindLeastSignificantBit(one), RtlFindLeastSignificantBit(high)]  # fmt: skip


@BITMAP.fact([-1, -1])
def zero_has_neither() -> list[int]:
    return [RtlFindMostSignificantBit(0), RtlFindLeastSignificantBit(0)]


# Numbers: base, text, value

TEXTS = [
    (0, "1234567", 1234567), (0, "-214", -214), (0, "+214", 214), (0, "--214", 0), (0, "-+214", 0),
    (0, "++214", 0), (0, "+-214", 0), (0, "\x01\x02\x03\x0411", 11), (0, "\x1d\x1e\x1f 18", 18),
    (0, " \n \r \t214", 214), (0, " \n \r \t+214", 214), (0, " \n \r \t-214", -214),
    (0, "+214 0", 214), (0, " 214.01", 214), (0, " 214,01", 214), (0, "f81", 0),
    (0, "0x12345", 0x12345), (0, "00x12345", 0), (0, "0xx12345", 0), (0, "1x34", 1),
    (0, "-9999999999", -1410065407), (0, "-2147483649", 2147483647), (0, "-2147483648", 1 << 31),
    (0, "-1", -1), (0, "0", 0), (0, "2147483647", 2147483647), (0, "2147483648", 1 << 31),
    (0, "4294967295", -1), (0, "4294967296", 0), (0, "9999999999", 1410065407),
    (0, "056789", 56789), (0, "b1011101100", 0), (0, "0b1011101100", 748),
    (0, "-0b1011101100", -748), (0, "0b10123456789", 5), (0, "0b2", 0), (0, "0b", 0),
    (0, "o1234567", 0), (0, "0o1234567", 0o1234567), (0, "-0o1234567", -0o1234567),
    (0, "0o56789", 0o567), (0, "0o8", 0), (0, "0d1011101100", 0), (0, "x89abcdef", 0),
    (0, "0x89abcdef", 0x89ABCDEF), (0, "-0xFEDCBA00", 19088896), (0, "0xabcdefgh", 0xABCDEF),
    (0, "0xG", 0), (0, "0x", 0), (2, "1011101100", 748), (2, "-1011101100", -748), (2, "2", 0),
    (2, "0b1011101100", 0), (8, "1011101100", 136610368), (8, "-1011101100", -136610368),
    (8, "8", 0), (8, "0o1011101100", 0), (10, "1011101100", 1011101100),
    (10, "-1011101100", -1011101100), (10, "0d1011101100", 0), (10, "o12345", 0),
    (16, "1011101100", 286265600), (16, "-1011101100", -286265600), (16, "G", 0),
    (16, "0b1011101100", 286265600), (16, "0o1011101100", 0), (16, "0x1011101100", 0),
]  # fmt: skip


@NUMBER.fact(
    lambda case, routine: [STATUS_SUCCESS, case[2] & 0xFFFFFFFF],
    case=TEXTS, routine=["RtlUnicodeStringToInteger", "RtlCharToInteger"],
)  # fmt: skip
def a_number_is_read_up_to_what_is_no_digit(case: tuple[int, str, int], routine: str) -> list[int]:
    base, text, _ = case
    value = ULONG()
    if routine == "RtlCharToInteger":
        block = ExAllocatePoolWithTag(NonPagedPool, 64, TAG)
        write_bytes(block, text.encode() + b"\0")
        status = RtlCharToInteger(block, base, value)
    else:
        status = RtlUnicodeStringToInteger(UNICODE_STRING(text), base, value)
    return [status, value[0]]


@NUMBER.fact(STATUS_INVALID_PARAMETER, base=[20, 0xFFFFFFF8, 1, 36])
def other_bases_are_invalid(base: int) -> int:
    return RtlUnicodeStringToInteger(UNICODE_STRING("0"), base, ULONG())


@NUMBER.fact(lambda length, value: [STATUS_SUCCESS, value],
             length=[10], value=[12345])  # fmt: skip
def only_the_characters_within_the_length_count(length: int, value: int) -> list[int]:
    text, number = UNICODE_STRING("1234567"), ULONG()
    text.Length = length
    return [RtlUnicodeStringToInteger(text, 0, number), number[0]]


NUMBERS = [
    (base, value)
    for base in (0, 2, 8, 10, 16)
    for value in (0, 1, 12, 123, 32767, 32768, 65535, 65536, 1234567, 0x7FFFFFFF, 0x80000000,
                  0xFFFFFFFE, 0xFFFFFFFF)
]  # fmt: skip


def written(base: int, value: int) -> str:
    return format(value, {0: "d", 2: "b", 8: "o", 10: "d", 16: "X"}[base])


@NUMBER.fact(lambda case: [STATUS_SUCCESS, written(*case), 0, 0x2D2D], case=NUMBERS)
def a_number_is_written_with_a_terminator_and_capital_digits(case: tuple[int, int]) -> list[Any]:
    block = ExAllocatePoolWithTag(NonPagedPool, 80, TAG)
    RtlFillMemory(block, 80, 0x2D)
    text = UNICODE_STRING()
    text.Length, text.MaximumLength, text.Buffer = 0, 70, block
    status = RtlIntegerToUnicodeString(case[1], case[0], text)
    after = [int.from_bytes(read_bytes(block + text.Length + at, 2), "little") for at in (0, 2)]
    return [status, text_of(text), *after]


test_fact = as_tests(BITMAP, RUNS, NUMBER)
