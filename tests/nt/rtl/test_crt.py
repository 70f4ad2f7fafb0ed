"""C run-time strings and formatted output in memory."""

from ntsim.wdm import *

TAG = 0x74736554


def buffer(size: int = 64) -> int:
    made = ExAllocatePoolWithTag(NonPagedPool, size, TAG)
    RtlFillMemory(made, size, 0xEE)
    return made


def test_lengths_and_order(value_of) -> None:
    def work() -> list[int]:
        return [
            strlen("hello"),
            strnlen("hello", 3),
            wcslen("hello"),
            wcsnlen("hello", 9),
            strcmp("abc", "abd"),
            strcmp("abc", "abc"),
            strncmp("abcd", "abce", 3),
            _stricmp("HELLO", "hello"),
            _strnicmp("HELLO", "help", 3),
            wcscmp("b", "a"),
            _wcsicmp("ABC", "abc"),
            wcsncmp("abcd", "abce", 4),
        ]

    assert value_of(work) == [5, 3, 5, 5, -1, 0, 0, 0, 0, 1, 0, -1]


def test_copying_and_appending(value_of) -> None:
    def work() -> list[bytes]:
        one, two, three = buffer(), buffer(), buffer()
        strcpy(one, "abc")
        strcat(one, "def")
        strncpy(two, "abc", 6)
        strncpy(two + 8, "abcdef", 3)
        wcscpy(three, "ab")
        wcscat(three, "c")
        return [read_bytes(one, 8), read_bytes(two, 12), read_bytes(three, 10)]

    assert value_of(work) == [
        b"abcdef\0\xee",
        b"abc\0\0\0\xee\xeeabc\xee",
        "abc\0".encode("utf-16-le") + b"\xee\xee",
    ]


def test_searching(value_of) -> None:
    def work() -> list[int]:
        text, wide = buffer(), buffer()
        strcpy(text, "one two one")
        wcscpy(wide, "one two one")
        return [
            strchr(text, ord("t")) - text,
            strrchr(text, ord("o")) - text,
            strstr(text, "two") - text,
            strstr(text, "three"),
            strchr(text, 0) - text,
            wcschr(wide, ord("t")) - wide,
            wcsrchr(wide, ord("o")) - wide,
            wcsstr(wide, "two") - wide,
        ]

    assert value_of(work) == [4, 8, 4, 0, 11, 8, 16, 8]


def test_a_string_may_end_with_its_page(value_of) -> None:
    def work() -> int:
        block = ExAllocatePoolWithTag(PagedPool, 0x2000, TAG)
        RtlFillMemory(block, 0x2000, 0x41)
        write_bytes(block + 0xFFF, b"\0")
        write_bytes(block + 0x1FFF, b"\0")
        return strlen(block) * 0x10000 + strlen(block + 0x1000)

    assert value_of(work) == 0xFFF0FFF


def test_snprintf_cuts_without_a_terminator_and_returns_minus_one(value_of) -> None:
    """C run-time library reference, _snprintf."""

    def work() -> list[object]:
        one = buffer()
        results = [
            _snprintf(one, 8, "%s-%d", "abc", 12),
            _snprintf(one + 16, 6, "%s-%d", "abc", 12),
            _snprintf(one + 32, 4, "%s-%d", "abc", 12),
        ]
        return [results, read_bytes(one, 8), read_bytes(one + 16, 7), read_bytes(one + 32, 5)]

    results, exact, full, cut = value_of(work)
    assert results == [6, 6, -1]
    assert (exact, full, cut) == (b"abc-12\0\xee", b"abc-12\xee", b"abc-\xee")


def test_wide_formats_take_wide_strings(value_of) -> None:
    def work() -> str:
        one = buffer(128)
        swprintf(one, "%s|%S|%ws|%hs|%c", "wide", "narrow", "w", "n", 65)
        return read_bytes(one, wcslen(one) * 2).decode("utf-16-le")

    assert value_of(work) == "wide|narrow|w|n|A"


def test_a_va_list_may_be_a_sequence_or_memory(value_of) -> None:
    def work() -> list[bytes]:
        one, slots = buffer(), buffer()
        write_bytes(slots, (7).to_bytes(8, "little") + (0x1234).to_bytes(8, "little"))
        _vsnprintf(one, 32, "%d %x", [7, 0x1234])
        _vsnprintf(one + 32, 32, "%d %x", slots)
        return [read_bytes(one, strlen(one)), read_bytes(one + 32, strlen(one + 32))]

    assert value_of(work) == [b"7 1234", b"7 1234"]


def test_safe_strings_always_terminate(value_of) -> None:
    """WDK RtlStringCbCopyW, RtlStringCchCatA, RtlStringCbPrintfA."""

    def work() -> list[object]:
        one, two, three = buffer(), buffer(), buffer()
        statuses = [
            RtlStringCbCopyW(one, 8, "abcdef"),
            RtlStringCchCopyA(two, 16, "abc"),
            RtlStringCchCatA(two, 6, "defg"),
            RtlStringCbPrintfA(three, 6, "%s%d", "abc", 1234),
            RtlStringCbCopyA(three, 0, "x"),
            RtlStringCbCatA(three, 3, "x"),
        ]
        return [statuses, read_bytes(one, 8), read_bytes(two, 6), read_bytes(three, 6)]

    statuses, one, two, three = value_of(work)
    assert statuses == [
        STATUS_BUFFER_OVERFLOW,
        0,
        STATUS_BUFFER_OVERFLOW,
        STATUS_BUFFER_OVERFLOW,
        STATUS_INVALID_PARAMETER,
        STATUS_INVALID_PARAMETER,
    ]
    assert (one, two, three) == ("abc\0".encode("utf-16-le"), b"abcde\0", b"abc12\0")


def test_safe_length_wants_a_terminator_in_range(value_of) -> None:
    def work() -> list[int]:
        length = SIZE_T()
        statuses = [RtlStringCbLengthW("abc", 8, length), length[0]]
        statuses += [RtlStringCchLengthW("abc", 3, length), length[0]]
        return [*statuses, RtlStringCchLengthA("abc", 4, NULL)]

    assert value_of(work) == [0, 6, STATUS_INVALID_PARAMETER, 0, 0]


def test_a_literal_is_placed_once(value_of) -> None:
    """A thousand calls with the same text use no more of the image than one."""

    def work() -> list[bool]:
        strings = [UNICODE_STRING(), UNICODE_STRING()]
        for string in strings:
            RtlInitUnicodeString(string, "the same literal")
        total = sum(strlen("another literal, for a change of length") for _ in range(5000))
        return [strings[0].Buffer == strings[1].Buffer, total == 5000 * 39]

    assert value_of(work) == [True, True]
