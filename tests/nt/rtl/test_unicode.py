"""Counted strings. Source of the expected values: WDK, the page of each routine."""

import pytest

from ntsim.wdm import *

TAG = 0x74736554


def empty(size: int):
    """An empty UNICODE_STRING with a buffer of `size` bytes of 0xEE."""
    made = UNICODE_STRING()
    buffer = ExAllocatePoolWithTag(NonPagedPool, size + 2, TAG)
    RtlFillMemory(buffer, size + 2, 0xEE)
    RtlInitEmptyUnicodeString(made, buffer, size)
    return made


def text(string) -> str:
    return read_bytes(string.Buffer, string.Length).decode("utf-16-le")


def test_init_describes_and_does_not_copy(value_of) -> None:
    def work() -> list[int]:
        string = UNICODE_STRING()
        source = ExAllocatePoolWithTag(PagedPool, 16, TAG)
        write_bytes(source, "abc\0".encode("utf-16-le"))
        RtlInitUnicodeString(string, source)
        first = [string.Length, string.MaximumLength, string.Buffer == source]
        RtlInitUnicodeString(string, NULL)
        return [*first, string.Length, string.MaximumLength, string.Buffer]

    assert value_of(work) == [6, 8, True, 0, 0, 0]


def test_a_string_of_32767_characters_is_too_long_for_init_ex(value_of) -> None:
    def work() -> list[int]:
        string = UNICODE_STRING()
        source = ExAllocatePoolWithTag(PagedPool, 0x10000, TAG)
        write_bytes(source, b"a\0" * 32767 + b"\0\0")
        status = RtlInitUnicodeStringEx(string, source)
        RtlInitUnicodeString(string, source)
        return [status, string.Length, string.MaximumLength]

    assert value_of(work) == [STATUS_NAME_TOO_LONG, 0xFFFC, 0xFFFE]


def test_copy_cuts_and_terminates_where_there_is_room(value_of) -> None:
    def work() -> list[object]:
        source = UNICODE_STRING("abcdef")
        small, large = empty(6), empty(20)
        RtlCopyUnicodeString(small, source)
        RtlCopyUnicodeString(large, source)
        found = [text(small), read_bytes(small.Buffer + 6, 2), text(large)]
        found.append(read_bytes(large.Buffer + 12, 4))
        RtlCopyUnicodeString(large, NULL)
        return [*found, large.Length]

    assert value_of(work) == ["abc", b"\xee\xee", "abcdef", b"\0\0\xee\xee", 0]


def test_append_refuses_what_does_not_fit(value_of) -> None:
    def work() -> list[object]:
        string = empty(12)
        statuses = [
            RtlAppendUnicodeToString(string, "abc"),
            RtlAppendUnicodeStringToString(string, UNICODE_STRING("de")),
            RtlAppendUnicodeToString(string, "fg"),
            RtlAppendUnicodeToString(string, NULL),
        ]
        return [*statuses, text(string)]

    assert value_of(work) == [0, 0, STATUS_BUFFER_TOO_SMALL, 0, "abcde"]


@pytest.mark.parametrize(
    ("one", "two", "insensitive", "order"),
    [
        ("abc", "abc", False, 0),
        ("abc", "abd", False, -1),
        ("abc", "ab", False, 1),
        ("ABC", "abd", True, -1),
        ("ABC", "abc", True, 0),
        ("ABC", "abc", False, -1),
        ("\u00c4", "\u00e4", True, 0),
        ("\u00df", "ss", True, 1),
    ],
)
def test_compare(value_of, one: str, two: str, insensitive: bool, order: int) -> None:
    def work() -> list[int]:
        first, second = UNICODE_STRING(one), UNICODE_STRING(two)
        difference = RtlCompareUnicodeString(first, second, insensitive)
        return [
            (difference > 0) - (difference < 0),
            RtlEqualUnicodeString(first, second, insensitive),
        ]

    assert value_of(work) == [order, order == 0]


def test_prefix(value_of) -> None:
    def work() -> list[bool]:
        name = UNICODE_STRING("\\Device\\Echo")
        return [
            RtlPrefixUnicodeString(UNICODE_STRING("\\device\\"), name, TRUE),
            RtlPrefixUnicodeString(UNICODE_STRING("\\device\\"), name, FALSE),
            RtlPrefixUnicodeString(name, UNICODE_STRING("\\Device\\"), TRUE),
            RtlPrefixUnicodeString(UNICODE_STRING(""), name, FALSE),
        ]

    assert value_of(work) == [True, False, False, True]


def test_conversion_to_ansi_and_back_with_allocated_buffers(run_driver) -> None:
    def work() -> list[object]:
        ansi, unicode = ANSI_STRING(), UNICODE_STRING()
        status = RtlUnicodeStringToAnsiString(
            ansi, UNICODE_STRING("Gr\u00fc\u00dfe \u20ac \u4e2d"), TRUE
        )
        found = [status, read_bytes(ansi.Buffer, ansi.Length + 1), ansi.MaximumLength]
        found += [RtlAnsiStringToUnicodeString(unicode, ansi, TRUE), text(unicode)]
        RtlFreeAnsiString(ansi)
        RtlFreeUnicodeString(unicode)
        return [*found, ansi.Buffer, unicode.Buffer]

    done = run_driver(work)
    assert done.value == [0, b"Gr\xfc\xdfe \x80 ?\0", 10, 0, "Gr\u00fc\u00dfe \u20ac ?", 0, 0]
    tags = [e.tag for e in done.machine.events if type(e).__name__ == "PoolFreed"]
    assert tags == ["Strg", "Strg"]


def test_conversion_to_a_short_ansi_buffer_is_cut_and_says_so(value_of) -> None:
    def work() -> list[object]:
        ansi = ANSI_STRING()
        RtlInitEmptyAnsiString(ansi, ExAllocatePoolWithTag(NonPagedPool, 16, TAG), 4)
        status = RtlUnicodeStringToAnsiString(ansi, UNICODE_STRING("abcdef"), FALSE)
        return [status, ansi.Length, read_bytes(ansi.Buffer, 4)]

    assert value_of(work) == [STATUS_BUFFER_OVERFLOW, 3, b"abc\0"]


def test_upper_and_lower_case(value_of) -> None:
    def work() -> list[object]:
        upper, lower = empty(20), UNICODE_STRING()
        statuses = [
            RtlUpcaseUnicodeString(upper, UNICODE_STRING("a\u00e4\u00ff\u0131\u00df"), FALSE),
            RtlDowncaseUnicodeString(lower, UNICODE_STRING("AB\u00d6"), TRUE),
            RtlUpcaseUnicodeString(upper, UNICODE_STRING("abcdefghijk"), FALSE),
        ]
        found = [text(upper), text(lower)]
        RtlFreeUnicodeString(lower)
        return statuses + found

    expected = "A\u00c4\u0178\u0131\u00df"
    assert value_of(work) == [0, 0, STATUS_BUFFER_OVERFLOW, expected, "ab\u00f6"]


@pytest.mark.parametrize(
    ("value", "base", "expected"),
    [(1234, 10, "1234"), (255, 16, "FF"), (5, 2, "101"), (8, 8, "10"), (0, 0, "0")],
)
def test_integer_to_string(value_of, value: int, base: int, expected: str) -> None:
    def work() -> list[object]:
        string = empty(40)
        return [RtlIntegerToUnicodeString(value, base, string), text(string)]

    assert value_of(work) == [0, expected]


def test_integer_to_string_needs_room_for_a_terminator_and_a_known_base(value_of) -> None:
    def work() -> list[int]:
        return [
            RtlIntegerToUnicodeString(1234, 10, empty(8)),
            RtlIntegerToUnicodeString(1234, 10, empty(10)),
            RtlIntegerToUnicodeString(1234, 7, empty(20)),
        ]

    assert value_of(work) == [STATUS_BUFFER_OVERFLOW, 0, STATUS_INVALID_PARAMETER]


@pytest.mark.parametrize(
    ("source", "base", "expected"),
    [
        ("123", 10, 123),
        ("-345", 10, -345 & 0xFFFFFFFF),
        ("xyz", 10, 0),
        ("+678abc", 10, 678),
        ("+678abc", 16, 6785724),
        ("007", 10, 7),
        ("789", 8, 7),
        ("FGH", 16, 15),
        (" ", 10, 0),
        ("0x1F", 0, 31),
        ("0b101", 0, 5),
        ("0o17", 0, 15),
    ],
)
def test_string_to_integer_as_in_the_documentations_table(
    value_of, source: str, base: int, expected: int
) -> None:
    """WDK RtlUnicodeStringToInteger, the table under Remarks."""
    result = value_of(lambda: RtlUnicodeStringToInteger(UNICODE_STRING(source), base))
    assert result == (0, expected)


def test_an_empty_string_is_no_integer(value_of) -> None:
    result = value_of(lambda: RtlUnicodeStringToInteger(UNICODE_STRING(""), 10))
    assert result == (STATUS_INVALID_PARAMETER, 0)


def test_hash_ignores_case_if_asked(value_of) -> None:
    def work() -> list[tuple[int, int]]:
        return [
            RtlHashUnicodeString(UNICODE_STRING("abc"), TRUE, 0),
            RtlHashUnicodeString(UNICODE_STRING("ABC"), FALSE, 1),
        ]

    expected = 0
    for unit in b"ABC":
        expected = (expected * 65599 + unit) & 0xFFFFFFFF
    assert value_of(work) == [(0, expected), (0, expected)]
