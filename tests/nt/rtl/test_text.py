"""Encodings in buffers, GUIDs as text, safe operations on UNICODE_STRING."""

import pytest

from ntsim.wdm import *

TAG = 0x74736554


def buffer(data: bytes = b"", size: int = 64) -> int:
    made = ExAllocatePoolWithTag(NonPagedPool, size, TAG)
    RtlFillMemory(made, size, 0xEE)
    write_bytes(made, data)
    return made


def test_the_ansi_code_page_by_size_and_by_copy(value_of) -> None:
    def work() -> list[object]:
        source = buffer("a\u20ac\u4e2d".encode("utf-16-le"))
        to, length = buffer(), ULONG()
        size = RtlUnicodeToMultiByteSize(source, 6)
        RtlUnicodeToMultiByteN(to, 2, length, source, 6)
        back = buffer()
        RtlMultiByteToUnicodeN(back, 64, NULL, to, 2)
        return [size, read_bytes(to, 3), length[0], read_bytes(back, 4)]

    assert value_of(work) == [(0, 3), b"a\x80\xee", 2, "a\u20ac".encode("utf-16-le")]


@pytest.mark.parametrize(
    ("room", "status", "kept"),
    [(64, STATUS_SUCCESS, 7), (5, STATUS_BUFFER_TOO_SMALL, 4), (6, STATUS_BUFFER_TOO_SMALL, 4)],
)
def test_utf8_is_cut_between_characters(value_of, room: int, status: int, kept: int) -> None:
    text = "a\u20ac\u4e2d"

    def work() -> list[object]:
        source, to, length = buffer(text.encode("utf-16-le")), buffer(), ULONG()
        found = RtlUnicodeToUTF8N(to, room, length, source, 6)
        return [found, length[0], read_bytes(to, kept)]

    assert value_of(work) == [status, kept, text.encode()[:kept]]


def test_malformed_text_is_replaced_and_says_so(value_of) -> None:
    """WDK RtlUTF8ToUnicodeN: STATUS_SOME_NOT_MAPPED."""

    def work() -> list[object]:
        to, length = buffer(), ULONG()
        statuses = [RtlUTF8ToUnicodeN(to, 64, length, buffer(b"a\xff"), 2)]
        found = read_bytes(to, length[0]).decode("utf-16-le")
        statuses.append(RtlUnicodeToUTF8N(to, 64, length, buffer(b"\x00\xd8"), 2))
        return [statuses, found, read_bytes(to, length[0])]

    statuses, found, encoded = value_of(work)
    assert statuses == [STATUS_SOME_NOT_MAPPED] * 2
    assert (found, encoded) == ("a\ufffd", "\ufffd".encode())


def test_guids(value_of) -> None:
    text = "{6B29FC40-CA47-1067-B31D-00DD010662DA}"

    def work() -> list[object]:
        guid, string = GUID(), UNICODE_STRING()
        statuses = [
            RtlGUIDFromString(UNICODE_STRING(text.lower()), guid),
            RtlStringFromGUID(guid, string),
            RtlGUIDFromString(UNICODE_STRING("{6B29}"), guid),
        ]
        found = read_bytes(string.Buffer, string.Length).decode("utf-16-le")
        RtlFreeUnicodeString(string)
        return [statuses, found, guid.Data1, read_bytes(guid + 8, 8)]

    statuses, found, first, tail = value_of(work)
    assert statuses == [0, 0, STATUS_INVALID_PARAMETER]
    assert (found, first) == (text, 0x6B29FC40)
    assert tail == bytes.fromhex("B31D00DD010662DA")


def test_safe_unicode_strings_keep_what_fits(value_of) -> None:
    def work() -> list[object]:
        string = UNICODE_STRING()
        RtlInitEmptyUnicodeString(string, buffer(), 12)
        statuses = [
            RtlUnicodeStringCopyString(string, "abc"),
            RtlUnicodeStringCat(string, UNICODE_STRING("de")),
            RtlUnicodeStringCatString(string, "fgh"),
        ]
        found = read_bytes(string.Buffer, 14)
        string.Length = 14
        statuses.append(RtlUnicodeStringValidate(string))
        statuses.append(RtlUnicodeStringCopy(string, UNICODE_STRING("x")))
        return [statuses, found]

    statuses, found = value_of(work)
    invalid = STATUS_INVALID_PARAMETER
    assert statuses == [0, 0, STATUS_BUFFER_OVERFLOW, invalid, invalid]
    assert found == "abcdef".encode("utf-16-le") + b"\xee\xee"
