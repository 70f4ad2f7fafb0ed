"""The C formats, compared with what Microsoft's C run-time library prints."""

import pytest

from ntsim.nt.kd.format import Formatter
from ntsim.wdm import *


class NoMemory:
    """Formats of numbers and Python text touch no memory."""


def formatted(template: str, *arguments: object) -> str:
    return Formatter(NoMemory()).format(template, arguments)


@pytest.mark.parametrize(
    ("template", "arguments", "expected"),
    [
        ("%d|%i|%u", (-1, 7, -1), "-1|7|4294967295"),
        ("%x|%X|%#x|%#X", (0xAB, 0xAB, 0xAB, 0xAB), "ab|AB|0xab|0XAB"),
        ("%o|%#o", (8, 8), "10|010"),
        ("%p", (0xFFFF8000_12345678,), "FFFF800012345678"),
        ("%p", (0,), "0000000000000000"),
        ("[%5d|%-5d|%05d]", (42, 42, 42), "[   42|42   |00042]"),
        ("[%+d|% d|%+d]", (5, 5, -5), "[+5| 5|-5]"),
        ("[%.3d|%8.3d|%-8.3d]", (5, 5, 5), "[005|     005|005     ]"),
        ("[%08.3d]", (5,), "[     005]"),
        ("[%.0d]", (0,), "[]"),
        ("[%*d|%-*d]", (6, 42, 6, 42), "[    42|42    ]"),
        ("[%*d]", (-6, 42), "[42    ]"),
        ("[%.*s]", (3, "abcdef"), "[abc]"),
        ("%ld|%lu|%lx", (-2, 1 << 32, 0x1_2345_6789), "-2|0|23456789"),
        ("%lld|%llu|%llx", (-2, 1 << 32, 0x1_2345_6789), "-2|4294967296|123456789"),
        ("%I64d|%I64u|%I64x", (-2, 1 << 32, 0x1_2345_6789), "-2|4294967296|123456789"),
        ("%I32d|%Ix", (1 << 32, 1 << 32), "0|100000000"),
        ("%hd|%hu|%hx", (0x18000, 0x18000, 0x12345), "-32768|32768|2345"),
        ("%c%c|%C", (65, "b", 67), "Ab|C"),
        ("[%5s|%-5s|%.2s]", ("abc", "abc", "abc"), "[  abc|abc  |ab]"),
        ("%S|%ls|%ws|%hs", ("a", "b", "c", "d"), "a|b|c|d"),
        ("100%%|%k|%", (), "100%|k|"),
        ("%s", (b"bytes\0more",), "bytes"),
    ],
)
def test_conversions(template: str, arguments: tuple[object, ...], expected: str) -> None:
    assert formatted(template, *arguments) == expected


def test_null_strings_read_null(value_of) -> None:
    def work() -> str:
        block = ExAllocatePoolWithTag(NonPagedPool, 64, 0x74736554)
        sprintf(block, "%s %ws %Z %wZ", NULL, NULL, NULL, UNICODE_STRING())
        return read_bytes(block, strlen(block)).decode()

    assert value_of(work) == "(null) (null) (null) (null)"


def test_counted_strings_ignore_terminators_and_precision(value_of) -> None:
    def work() -> str:
        ansi, block = ANSI_STRING(), ExAllocatePoolWithTag(NonPagedPool, 64, 0x74736554)
        RtlInitAnsiString(ansi, "ansi")
        sprintf(block, "[%Z] [%.1wZ] [%8wZ]", ansi, UNICODE_STRING("wide"), UNICODE_STRING("w"))
        return read_bytes(block, strlen(block)).decode()

    assert value_of(work) == "[ansi] [wide] [       w]"


def test_floating_point_gives_its_letter_takes_nothing_and_is_a_finding(run_driver) -> None:
    """WDK DbgPrint: no floating-point types; capstone issue 681: `%f` gives "f" in a driver."""
    done = run_driver(lambda: DbgPrint("[%f] [%-8.3e] [%I64x] [%d]", 1.5, 2))
    assert done.machine.debug_output == ["[f] [e] [3ff8000000000000] [2]"]
    texts = [finding.text for finding in done.machine.findings]
    assert ["floating-point" in text for text in texts] == [True, True]


def test_a_str_where_a_number_belongs_is_the_drivers_python_error(bugcheck_of) -> None:
    stop = bugcheck_of(lambda: DbgPrint("%d", "five"))
    assert (stop.code, stop.parameters[0]) == (0x7E, 0xE0507945)
