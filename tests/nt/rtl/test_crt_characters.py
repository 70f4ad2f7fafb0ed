"""Classes, case and conversion of characters in the kernel's C run-time, rand, version checks."""

import pytest

from ntsim.nt.rtl import version as v
from ntsim.wdm import *

TAG = 0x74736554


def put(data: bytes) -> int:
    made = ExAllocatePoolWithTag(NonPagedPool, 64, TAG)
    write_bytes(made, data.ljust(64, b"\xee"))
    return made


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("isdigit", "0123456789"),
        ("isxdigit", "0123456789ABCDEFabcdef"),
        ("isspace", "\t\n\v\f\r "),
        ("isupper", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        ("islower", "abcdefghijklmnopqrstuvwxyz"),
        ("isprint", "".join(map(chr, range(0x20, 0x7F)))),
    ],
)
def test_a_class_has_these_members_and_no_other_code(value_of, name: str, members: str) -> None:
    routine = globals()[name]
    found = value_of(lambda: [code for code in range(-1, 256) if routine(code)])
    assert "".join(map(chr, found)) == members


def test_case_of_wide_characters_and_strings(value_of) -> None:
    def work() -> list:
        text = put("Grün 7z\0rest".encode("utf-16-le"))
        found = [towupper(ord("é")), towlower(ord("Ä")), towupper(ord("1"))]
        found += [_wcsupr(text) == text, read_bytes(text, 24).decode("utf-16-le")]
        return [*found, _wcslwr(text) == text, read_bytes(text, 24).decode("utf-16-le")]

    assert value_of(work) == [
        ord("É"), ord("ä"), ord("1"), True, "GRÜN 7Z\0rest", True, "grün 7z\0rest",
    ]  # fmt: skip


def test_conversion_stops_at_the_count_and_terminates_only_with_room(value_of) -> None:
    def work() -> list:
        wide, narrow, source = put(b""), put(b""), put(b"caf\xe9\0")
        found = [mbstowcs(0, source, 0), mbstowcs(wide, source, 3), read_bytes(wide, 8)]
        found += [mbstowcs(wide, source, 9), read_bytes(wide, 10)]
        found += [wcstombs(0, wide, 0), wcstombs(narrow, wide, 2), read_bytes(narrow, 3)]
        found += [wcstombs(narrow, wide, 9), read_bytes(narrow, 5)]
        return found

    ee = b"\xee\xee"
    assert value_of(work) == [
        4, 3, "caf".encode("utf-16-le") + ee, 4, "café\0".encode("utf-16-le"),
        4, 2, b"ca\xee", 4, b"caf\xe9\0",
    ]  # fmt: skip


def test_one_character_at_a_time(value_of) -> None:
    def work() -> list:
        wide, narrow = put(b""), put(b"\xe9")
        found = [mbtowc(wide, narrow, 1), read_bytes(wide, 2), mbtowc(wide, narrow, 0)]
        found += [mbtowc(wide, 0, 1), mbtowc(wide, put(b"\0"), 1), wctomb(0, 65)]
        return [*found, wctomb(narrow, 0x20AC), read_bytes(narrow, 1), atol(put(b" -12x\0"))]

    assert value_of(work) == [1, b"\xe9\0", -1, 0, 0, 0, 1, b"\x80", -12]


def test_rand_is_microsofts_sequence(value_of) -> None:
    def work() -> list:
        first = [rand(), rand(), rand()]
        srand(1)
        return [first, [rand(), rand(), rand()]]

    assert value_of(work) == [[41, 18467, 6334]] * 2


@pytest.mark.parametrize(
    ("major", "minor", "build", "types", "condition", "status"),
    [
        (10, 0, 0, v.VER_MAJORVERSION | v.VER_MINORVERSION, v.VER_GREATER_EQUAL, 0),
        (6, 3, 0, v.VER_MAJORVERSION | v.VER_MINORVERSION, v.VER_GREATER_EQUAL, 0),
        (6, 3, 0, v.VER_MAJORVERSION | v.VER_MINORVERSION, v.VER_EQUAL, 0xC0000059),
        (10, 1, 0, v.VER_MAJORVERSION | v.VER_MINORVERSION, v.VER_GREATER_EQUAL, 0xC0000059),
        (11, 0, 0, v.VER_MAJORVERSION | v.VER_MINORVERSION, v.VER_LESS, 0),
        (0, 0, 19041, v.VER_BUILDNUMBER, v.VER_EQUAL, 0),
        (0, 0, 19042, v.VER_BUILDNUMBER, v.VER_LESS_EQUAL, 0),
        (0, 0, 19041, v.VER_BUILDNUMBER, v.VER_GREATER, 0xC0000059),
        (0, 0, 19041, v.VER_BUILDNUMBER, v.VER_AND, 0xC000000D),
        (0, 0, 0, 0, v.VER_EQUAL, 0xC000000D),
    ],
)
def test_version_conditions(value_of, major, minor, build, types, condition, status) -> None:
    def work() -> int:
        info = RTL_OSVERSIONINFOEXW()
        info.dwOSVersionInfoSize = RTL_OSVERSIONINFOEXW.size
        info.dwMajorVersion, info.dwMinorVersion, info.dwBuildNumber = major, minor, build
        mask = 0
        for bit in (1 << i for i in range(8)):
            if types & bit:
                mask = VerSetConditionMask(mask, bit, condition)
        return RtlVerifyVersionInfo(info, types, mask) & 0xFFFF_FFFF

    assert value_of(work) == status


def test_a_unicode_string_is_created_and_freed(value_of) -> None:
    def work() -> list:
        string = UNICODE_STRING()
        found = [RtlCreateUnicodeString(string, "Anna"), string.Length, string.MaximumLength]
        found.append(read_bytes(string.Buffer, 10).decode("utf-16-le"))
        RtlFreeUnicodeString(string)
        place = put(put(b"\xe9x").to_bytes(8, "little"))
        start = int.from_bytes(read_bytes(place, 8), "little")
        found.append(RtlAnsiCharToUnicodeChar(place))
        return [*found, int.from_bytes(read_bytes(place, 8), "little") - start]

    assert value_of(work) == [True, 8, 10, "Anna\0", 0xE9, 1]
