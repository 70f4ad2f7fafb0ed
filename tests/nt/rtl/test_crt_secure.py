"""strcpy_s and its family. Source: C run-time reference: strcpy_s, strncpy_s, memcpy_s."""

import pytest

from ntsim.wdm import *

EINVAL, ERANGE, STRUNCATE, TRUNCATE = 22, 34, 80, (1 << 64) - 1


def filled(text: str, size: int = 32) -> int:
    address = ExAllocatePoolZero(NonPagedPool, size, 1)
    write_bytes(address, b"\xaa" * size)
    write_bytes(address, text.encode() + b"\0")
    return int(address)


def text_at(address: int) -> str:
    return read_bytes(address, 32).split(b"\0")[0].decode("latin-1")


@pytest.mark.parametrize(
    ("name", "size", "rest", "expected"),
    [
        ("strcpy_s", 6, ("hello",), (0, "hello")),
        ("strcpy_s", 5, ("hello",), (ERANGE, "")),
        ("strcpy_s", 0, ("hello",), (EINVAL, "ab")),
        ("strcpy_s", 5, (0,), (EINVAL, "")),
        ("strcat_s", 8, ("hello",), (0, "abhello")),
        ("strcat_s", 7, ("hello",), (ERANGE, "")),
        ("strcat_s", 2, ("x",), (EINVAL, "")),
        ("strncpy_s", 4, ("hello", 3), (0, "hel")),
        ("strncpy_s", 3, ("hello", 3), (ERANGE, "")),
        ("strncpy_s", 3, ("hello", TRUNCATE), (STRUNCATE, "he")),
        ("strncpy_s", 9, ("hello", TRUNCATE), (0, "hello")),
        ("strncat_s", 5, ("hello", 2), (0, "abhe")),
        ("strncat_s", 4, ("hello", 2), (ERANGE, "")),
        ("strncat_s", 5, ("hello", TRUNCATE), (STRUNCATE, "abhe")),
        ("strncat_s", 3, (0, 0), (0, "ab")),
    ],
)
def test_narrow_strings(value_of, name: str, size: int, rest: tuple, expected: tuple) -> None:
    def body():
        to = filled("ab")
        return globals()[name](to, size, *rest), text_at(to)

    assert value_of(body) == expected


def test_wide_strings_count_characters(value_of) -> None:
    def body():
        seen = []
        for size in (6, 5):
            to = filled("")
            seen += [wcscpy_s(to, size, "hello"), read_bytes(to, 12).decode("utf-16-le")[:size]]
        to = filled("")
        wcscpy_s(to, 16, "ab")
        seen += [wcscat_s(to, 16, "cd"), wcsncat_s(to, 16, "efg", 2)]
        seen.append(wcsncpy_s(to + 2, 2, "xyz", 1))
        return [*seen, read_bytes(to, 14).decode("utf-16-le")]

    value = value_of(body)
    assert value[:3] == [0, "hello\0", ERANGE]
    assert value[3][0] == "\0"
    assert value[4:] == [0, 0, 0, "ax\0def\0"]


def test_memory_that_does_not_fit_is_zeroed_by_a_copy_and_left_alone_by_a_move(value_of) -> None:
    def body():
        source, seen = filled("source"), []
        for routine in (memcpy_s, memmove_s):
            to = filled("old")
            seen += [routine(to, 3, source, 4), text_at(to)[:3]]
            seen += [routine(to, 32, source, 7), text_at(to)]
            seen += [routine(NULL, 0, source, 0), routine(NULL, 4, source, 4)]
        return seen

    assert value_of(body) == [
        ERANGE, "", 0, "source", 0, EINVAL, ERANGE, "old", 0, "source", 0, EINVAL,
    ]  # fmt: skip
