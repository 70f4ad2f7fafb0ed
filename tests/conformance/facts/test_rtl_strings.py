"""Facts of strings, encodings, time fields and other small run-time routines."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, Facts, as_tests, text_of

STRINGS = Facts("Wine dlls/ntdll/tests/rtlstr.c")
SMALL = Facts("Wine dlls/ntdll/tests/rtl.c")
TIME = Facts("Wine dlls/ntdll/tests/time.c")
PRINTF = Facts(f"{KMTESTS}/rtl/RtlStrSafe.c")
TAG = 0x74736554
X65599 = 1


def block(data: bytes) -> int:
    """Pool that holds these bytes."""
    at = ExAllocatePoolWithTag(NonPagedPoolNx, max(len(data), 1), TAG)
    write_bytes(at, data)
    return int(at)


def string(kind: Any, length: int, maximum: int, data: bytes | None) -> Any:
    made = kind()
    made.Length, made.MaximumLength = length, maximum
    made.Buffer = block(data) if data is not None else NULL
    return made


def state(made: Any, size: int) -> tuple[int, int, bytes | None]:
    """Length, MaximumLength and the bytes where it points."""
    data = read_bytes(int(made.Buffer), size) if made.Buffer else None
    return made.Length, made.MaximumLength, data


TEST = b"TestS01234abcde"
WHOLE, TOO_SMALL = b"TestStringabcde", 0xC0000023
JOINED: dict[tuple[int, bytes | None], tuple[int, int, bytes]] = {
    (12, b"tring"): (0, 10, WHOLE),
    (11, b"tring"): (0, 10, WHOLE),
    (10, b"tring"): (0, 10, WHOLE),
    (9, b"tring"): (TOO_SMALL, 5, TEST),
    (0, b"tring"): (TOO_SMALL, 5, TEST),
    (0, b""): (0, 5, TEST),
    (14, b""): (0, 5, TEST),
    (14, None): (0, 5, TEST),
    (12, b"tr\0i"): (0, 9, b"TestStr\0i4abcde"),
}


@STRINGS.fact(
    lambda maximum, more: (JOINED[maximum, more][0], JOINED[maximum, more][1], maximum,
                           JOINED[maximum, more][2]) if (maximum, more) in JOINED else None,
    maximum=[0, 9, 10, 11, 12, 14], more=[b"tring", b"", None, b"tr\0i"],
)  # fmt: skip
def a_string_is_appended_if_it_fits_whole(maximum: int, more: bytes | None) -> Any:
    if (maximum, more) not in JOINED:
        return None
    to = string(STRING, 5, maximum, TEST)
    size = len(more or b"")
    status = RtlAppendStringToString(to, string(STRING, size, size, more))
    return status, *state(to, len(TEST))


def wide(text: str) -> bytes:
    return text.encode("utf-16-le")


@STRINGS.fact(
    lambda maximum: (
        (0, 16, maximum, "FakeUstr" + ("\0def" if maximum > 16 else "cdef"))
        if maximum >= 16
        else (TOO_SMALL, 8, maximum, "Fake0123cdef")
    ),
    maximum=[24, 22, 18, 16, 14, 8, 0],
)
def an_appended_text_is_ended_by_zero_if_there_is_room(maximum: int) -> Any:
    to = string(UNICODE_STRING, 8, maximum, wide("Fake0123cdef"))
    status = RtlAppendUnicodeToString(to, "Ustr")
    length, most, data = state(to, 24)
    return status, length, most, (data or b"").decode("utf-16-le")


@STRINGS.fact((0, 8, 28), maximum=[28])
def nothing_is_appended_from_null(maximum: int) -> Any:
    to = string(UNICODE_STRING, 8, maximum, wide("Fake0123abcdef"))
    return RtlAppendUnicodeToString(to, NULL), to.Length, to.MaximumLength


@STRINGS.fact((32, 34, True, 0, 0, 0))
def an_initialized_string_points_to_its_source() -> Any:
    source, made = block(wide("Some Wild String\0")), UNICODE_STRING()
    RtlInitUnicodeString(made, source)
    found = made.Length, made.MaximumLength, int(made.Buffer) == source
    RtlInitUnicodeString(made, NULL)
    return *found, made.Length, made.MaximumLength, int(made.Buffer)


@STRINGS.fact([(0, 32, 34), (0xC0000106, 12345, 12345)])
def a_source_that_is_too_long_is_refused() -> Any:
    found = []
    for text in ("Some Wild String\0", 40_000 * "X" + "\0"):
        made = string(UNICODE_STRING, 12345, 12345, None)
        found.append((RtlInitUnicodeStringEx(made, block(wide(text))),))
        found[-1] += (made.Length, made.MaximumLength)
    return found


@STRINGS.fact(b"Some Wild String")
def a_string_is_copied() -> Any:
    to = string(STRING, 20, 21, b" " * 20 + b"\0")
    RtlCopyString(to, string(STRING, 16, 17, b"Some Wild String\0"))
    return read_bytes(int(to.Buffer), to.Length)


def uppered(code: int) -> int:
    if 0x61 <= code <= 0x7A or (0xE0 <= code <= 0xFE and code != 0xF7):
        return code - 0x20
    return 0x178 if code == 0xFF else code


@STRINGS.fact([])
def characters_below_256_have_an_upper_case() -> list[int]:
    return [code for code in range(256) if RtlUpcaseUnicodeChar(code) != uppered(code)]


@STRINGS.fact([])
def a_string_is_upcased_character_by_character() -> list[int]:
    data = b"".join(code.to_bytes(2, "little") for code in range(256))
    to, source = string(UNICODE_STRING, 512, 512, data), string(UNICODE_STRING, 512, 512, data)
    RtlUpcaseUnicodeString(to, source, FALSE)
    found = read_bytes(int(to.Buffer), 512)
    units = [int.from_bytes(found[i : i + 2], "little") for i in range(0, 512, 2)]
    return [code for code in range(256) if units[code] != uppered(code)]


LOWER = {
    0x178: 0xFF, 0x181: 0x253, 0x186: 0x254, 0x189: 0x256, 0x18A: 0x257, 0x18E: 0x1DD,
    0x18F: 0x259, 0x190: 0x25B, 0x193: 0x260, 0x194: 0x263, 0x196: 0x269, 0x197: 0x268,
    0x19C: 0x26F, 0x19D: 0x272, 0x19F: 0x275, 0x1A9: 0x283, 0x1AE: 0x288, 0x1B1: 0x28A,
    0x1B2: 0x28B, 0x1B7: 0x292, 0x1C4: 0x1C6, 0x1C7: 0x1C9, 0x1CA: 0x1CC, 0x1F1: 0x1F3,
    0x386: 0x3AC, 0x388: 0x3AD, 0x389: 0x3AE, 0x38A: 0x3AF, 0x38C: 0x3CC, 0x38E: 0x3CD,
    0x38F: 0x3CE,
}  # fmt: skip


def lowered(code: int) -> int:
    if 0x41 <= code <= 0x5A or (0xC0 <= code <= 0xDE and code != 0xD7):
        return code + 0x20
    if 0x391 <= code <= 0x3AB and code != 0x3A2:
        return code + 0x20
    return LOWER.get(code, code)


@STRINGS.fact([])
def characters_below_512_have_a_lower_case_or_the_next_is_it() -> list[int]:
    codes = range(512)
    newer = {0x1A6, 0x1F6, 0x1F7}  # lower case in the tables of Windows 10, not yet in the source
    data = b"".join(code.to_bytes(2, "little") for code in codes)
    to, source = string(UNICODE_STRING, 1024, 1024, data), string(UNICODE_STRING, 1024, 1024, data)
    RtlDowncaseUnicodeString(to, source, FALSE)
    found = read_bytes(int(to.Buffer), 1024)
    units = [int.from_bytes(found[i : i + 2], "little") for i in range(0, 1024, 2)]
    wrong = [code for code in codes if units[code] not in (lowered(code), code + 1)]
    return [code for code in wrong if code not in newer]


@STRINGS.fact([])
def bytes_have_an_upper_case_of_ascii_letters_only() -> list[int]:
    data = bytes(range(256))
    to, source = string(STRING, 256, 256, bytes(256)), string(STRING, 256, 256, data)
    RtlUpperString(to, source)
    found = read_bytes(int(to.Buffer), 256)
    wrong = [code for code in range(256) if found[code] != bytes([code]).upper()[0]]
    return wrong + [code for code in range(256) if RtlUpperChar(code) & 0xFF != found[code]]


NARROWED = {
    0: (0x80000005, 6, b"------------"),
    1: (0x80000005, 0, b"\0-----------"),
    2: (0x80000005, 1, b"a\0----------"),
    3: (0x80000005, 2, b"ab\0---------"),
    5: (0x80000005, 4, b"abcd\0-------"),
    6: (0x80000005, 5, b"abcde\0------"),
    7: (0, 6, b"abcdef\0-----"),
    12: (0, 6, b"abcdef\0-----"),
}


@STRINGS.fact(
    lambda maximum: (NARROWED[maximum][0], NARROWED[maximum][1], maximum, NARROWED[maximum][2]),
    maximum=list(NARROWED),
)
def a_converted_string_is_cut_and_ended(maximum: int) -> Any:
    to = string(STRING, 8, maximum, b"------------")
    status = RtlUnicodeStringToAnsiString(
        to, string(UNICODE_STRING, 12, 12, wide("abcdef")), FALSE
    )  # fmt: skip
    return status, *state(to, 12)


@STRINGS.fact(lambda text: (0, len(text), len(text) + 1, text.encode()), text=["", "abcdef"])
def a_converted_string_is_allocated_with_its_end(text: str) -> Any:
    to, data = STRING(), wide(text)
    status = RtlUnicodeStringToAnsiString(
        to, string(UNICODE_STRING, len(data), len(data), data), TRUE
    )  # fmt: skip
    return status, *state(to, len(text))


SOME = [0, 1, 0x41, 0x61, 0x5A, 0x7A, 0xC0, 0xE0, 0xFF, 0x100, 0x178, 0x1FF, 0x3A9, 0x3C9]


@STRINGS.fact([])
def a_comparison_returns_the_difference_of_characters() -> list[tuple[int, int]]:
    wrong = []
    one, two = string(UNICODE_STRING, 2, 2, b"  "), string(UNICODE_STRING, 2, 2, b"  ")
    for a in SOME:
        write_bytes(int(one.Buffer), a.to_bytes(2, "little"))
        for b in SOME:
            write_bytes(int(two.Buffer), b.to_bytes(2, "little"))
            up = RtlUpcaseUnicodeChar(a) - RtlUpcaseUnicodeChar(b)
            exact = RtlCompareUnicodeString(one, two, FALSE) == a - b
            if not exact or RtlCompareUnicodeString(one, two, TRUE) != up:
                wrong.append((a, b))
    return wrong


GUID_TEXT = "{01020304-0506-0708-090A-0B0C0D0E0F0A}"


@STRINGS.fact((0, bytes.fromhex("04030201060508070 90a0b0c0d0e0f0a".replace(" ", ""))))
def a_guid_is_read_from_text() -> Any:
    guid = GUID()
    return RtlGUIDFromString(UNICODE_STRING(GUID_TEXT), guid), read_bytes(int(guid), 16)


@STRINGS.fact(True)
def a_guid_ends_with_its_brace() -> bool:
    return RtlGUIDFromString(UNICODE_STRING(GUID_TEXT[:-1] + "]"), GUID()) != 0


@STRINGS.fact((0, GUID_TEXT.lower()))
def a_guid_is_written_as_text() -> Any:
    guid, text = GUID(), UNICODE_STRING()
    RtlGUIDFromString(UNICODE_STRING(GUID_TEXT), guid)
    return RtlStringFromGUID(guid, text), text_of(text).lower()


HASHES = {
    ("T", False): 0x54,
    ("Test", False): 0x766BB952,
    ("TeSt", False): 0x764BB172,
    ("test", False): 0x4745D132,
    ("test", True): 0x6689C132,
    ("TEST", True): 0x6689C132,
    ("TEST", False): 0x6689C132,
    ("abcdef", False): 0x971318C3,
    ("Test\x001", False): 0x32803083,
}


@STRINGS.fact(lambda which: (0, HASHES[which]), which=list(HASHES))
def a_text_has_its_hash(which: tuple[str, bool]) -> Any:
    data = wide(which[0])
    made = string(UNICODE_STRING, len(data), len(data), data)
    return RtlHashUnicodeString(made, which[1], X65599)


@STRINGS.fact([0xC000000D, 0xC000000D])
def a_hash_wants_a_string_and_an_algorithm() -> list[int]:
    text = UNICODE_STRING("Test")
    null = RtlHashUnicodeString(NULL, FALSE, X65599)[0]
    return [null, RtlHashUnicodeString(text, FALSE, 0xFFFFFFFF)[0]]


ENCODED: dict[str, tuple[str, int]] = {
    "empty": ("", 0),
    "ascii": ("hello", 0),
    "two bytes": ("-\x7f-\x80-\xff-\u0100-", 0),
    "three bytes": ("-\u07ff-\u0800-", 0),
    "around surrogates": ("-\ud7ff-\ue000-", 0),
    "four bytes": ("-\uffff-\U00010000-\U000103ff-\U00010400-\U0010ffff-", 0),
    "byte order marks": ("\ufeff-\ufffe-\uffff", 0),
    "decomposed": ("-\u1e09-\u0107\u0327-\u00e7\u0301-c\u0327\u0301-", 0),
    "lone lead": ("-\ud800-\udbff-", 0x107),
    "lone trail": ("-\udc00-\udfff-", 0x107),
    "reversed": ("-\udfff\udbff-", 0x107),
}


@STRINGS.fact(
    lambda which: (
        ENCODED[which][1],
        "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in ENCODED[which][0]).encode(),
    ),
    which=list(ENCODED),
)
def utf_8_replaces_lone_surrogates_and_normalizes_nothing(which: str) -> Any:
    data = ENCODED[which][0].encode("utf-16-le", "surrogatepass")
    to = block(bytes(64))
    status, size = RtlUnicodeToUTF8N(to, 64, block(data), len(data))
    return status, read_bytes(to, size) if size else b""


@SMALL.fact(0x2143658710325476)
def a_quadword_is_swapped() -> Any:
    return RtlUlonglongByteSwap(0x7654321087654321)


def uniform(count: int) -> list[int]:
    found, seed = [], 0
    for _ in range(count):
        seed = (seed * 0x7FFFFFED + 0x7FFFFFC3) % 0x7FFFFFFF
        found.append(seed)
    return found


@SMALL.fact([uniform(200), True])
def uniform_numbers_follow_lehmers_formula() -> list[Any]:
    seed, found, same = ULONG(), [], True
    for _ in range(200):
        found.append(RtlUniform(seed))
        same = same and seed[0] == found[-1]
    return [found, same]


@SMALL.fact([512, True])
def random_numbers_differ_and_are_not_the_seed() -> list[Any]:
    seed, found, other = ULONG(), set(), True
    for _ in range(512):
        number = RtlRandom(seed)
        other = other and seed[0] != number
        found.add(number)
    return [len(found), other]


MASKS = [
    0xFEDCBA76, 0, 0xFEDCBA70, 0xFEDC8A76, 0xC8C4B242, 0x01234589, 0x00040000, 0xFED8BA76,
]  # fmt: skip


@SMALL.fact(
    lambda granted, desired: (desired & ~granted == 0, desired & granted != 0),
    granted=MASKS, desired=[0xFEDCBA76, 0, 0x00040000, 0xC8C4B242],
)  # fmt: skip
def all_or_any_accesses_are_granted(granted: int, desired: int) -> tuple[bool, bool]:
    every = bool(RtlAreAllAccessesGranted(granted, desired))
    return every, bool(RtlAreAnyAccessesGranted(granted, desired))


SECOND, DAY = 10_000_000, 864_000_000_000
FIRST = 0x0144017A_F0B0A980


def months() -> list[tuple[int, int, int]]:
    """(year, month, its last day) from December 1889 to 2109."""
    lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    found = [(1889, 12, 31)]
    for year in range(1890, 2110):
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        found += [(year, m + 1, n + (leap and m == 1)) for m, n in enumerate(lengths)]
    return found


def fields_of(time: int) -> tuple[tuple[int, ...], int]:
    """The fields of a time, and the time of those fields."""
    given, back, fields = LARGE_INTEGER(), LARGE_INTEGER(), TIME_FIELDS()
    given.QuadPart = time
    RtlTimeToTimeFields(given, fields)
    RtlTimeFieldsToTime(fields, back)
    made = fields.Year, fields.Month, fields.Day, fields.Hour, fields.Minute, fields.Second
    return made, back.QuadPart


@TIME.fact([], decade=list(range(1890, 2110, 20)))
def months_end_and_begin_at_midnight_and_back_again(decade: int) -> list[Any]:
    time, wrong = FIRST, []
    for index, (year, month, last) in enumerate(months()):
        if index:
            time += last * DAY
        if not decade <= year < decade + 20:
            continue
        if fields_of(time) != ((year, month, last, 23, 59, 59), time):
            wrong.append((year, month, fields_of(time)))
        following = (year + (month == 12), month % 12 + 1, 1, 0, 0, 0)
        if fields_of(time + SECOND) != (following, time + SECOND):
            wrong.append((following, fields_of(time + SECOND)))
    return wrong


OVERFLOW = 0x80000005


@PRINTF.fact((0, 10, 12, "1 2 3"))
def numbers_are_formatted_into_a_counted_string() -> Any:
    to = string(UNICODE_STRING, 0, 12, b"\xaa" * 12)
    status = RtlUnicodeStringPrintf(to, "%d %d %d", 1, 2, 3)
    return status, to.Length, to.MaximumLength, text_of(to)


CUT = {4: ("AAA BBB CCC", "AA"), 14: ("0123 4567 89AB", "0123 45")}


@PRINTF.fact(lambda size: (OVERFLOW, size, size, CUT[size][1]), size=list(CUT))
def what_does_not_fit_is_cut_without_an_end(size: int) -> Any:
    to = string(UNICODE_STRING, 0, size, bytes(size))
    status = RtlUnicodeStringPrintf(to, "%s %s %s", *CUT[size][0].split())
    return status, to.Length, to.MaximumLength, text_of(to)


@PRINTF.fact(OVERFLOW)
def an_empty_string_has_room_for_nothing() -> Any:
    return RtlUnicodeStringPrintf(string(UNICODE_STRING, 0, 0, None), "%s", "AAA")


test_fact = as_tests(STRINGS, SMALL, TIME, PRINTF)
