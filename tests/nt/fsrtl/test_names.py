"""Names, wildcards and components.

Source: ReactOS kmtests FsRtlExpression.c (its table of expressions, names and results) and
FsRtlDissect.c; WDK FsRtlDoesNameContainWildCards, FsRtlAreNamesEqual, FsRtlNormalizeNtstatus.
"""

import pytest

from ntsim.wdm import *

TAG = 0x74736554
CASES = [
    ("", "", False, True),
    ("", "a", False, False),
    ("*", "a", False, True),
    ("*", "", False, False),
    ("**", "", False, False),
    ("**", "a", False, True),
    ("ntdll.dll", ".", False, False),
    ("ntdll.dll", "~1", False, False),
    ("ntdll.dll", "..", False, False),
    ("ntdll.dll", "ntdll.dll", False, True),
    ("smss.exe", ".", False, False),
    ("smss.exe", "~1", False, False),
    ("smss.exe", "..", False, False),
    ("smss.exe", "ntdll.dll", False, False),
    ("smss.exe", "NTDLL.DLL", False, False),
    ("nt??krnl.???", "ntoskrnl.exe", False, True),
    ("he*o", "hello", False, True),
    ("he*o", "helo", False, True),
    ("he*o", "hella", False, False),
    ("he*", "hello", False, True),
    ("he*", "helo", False, True),
    ("he*", "hella", False, True),
    ("*.cpl", "kdcom.dll", False, False),
    ("*.cpl", "bootvid.dll", False, False),
    ("*.cpl", "ntoskrnl.exe", False, False),
    (".", "NTDLL.DLL", False, False),
    ("F0_*.*", ".", False, False),
    ("F0_*.*", "..", False, False),
    ("F0_*.*", "SETUP.EXE", False, False),
    ("F0_*.*", "f0_", False, False),
    ("F0_*.*", "f0_", True, False),
    ("F0_*.*", "F0_", False, False),
    ("F0_*.*", "f0_.", False, False),
    ("F0_*.*", "f0_.", True, True),
    ("F0_*.*", "F0_.", False, True),
    ("F0_*.*", "F0_001", False, False),
    ("F0_*.*", "F0_001", True, False),
    ("F0_*.*", "f0_001", False, False),
    ("F0_*.*", "f0_001", True, False),
    ("F0_*.*", "F0_001.", False, True),
    ("F0_*.*", "f0_001.txt", False, False),
    ("F0_*.*", "f0_001.txt", True, True),
    ("F0_*.*", "F0_001.txt", False, True),
    ("F0_*.*", "F0_001.txt", True, True),
    ("F0_*.", ".", False, False),
    ("F0_*.", "..", False, False),
    ("F0_*.", "SETUP.EXE", False, False),
    ("F0_*.", "f0_", False, False),
    ("F0_*.", "f0_", True, False),
    ("F0_*.", "F0_", False, False),
    ("F0_*.", "f0_.", False, False),
    ("F0_*.", "f0_.", True, True),
    ("F0_*.", "F0_.", False, True),
    ("F0_*.", "F0_001", False, False),
    ("F0_*.", "F0_001", True, False),
    ("F0_*.", "f0_001", False, False),
    ("F0_*.", "f0_001", True, False),
    ("F0_*.", "F0_001.", False, True),
    ("F0_*.", "f0_001.txt", False, False),
    ("F0_*.", "f0_001.txt", True, False),
    ("F0_*.", "F0_001.txt", False, False),
    ("F0_*.", "F0_001.txt", True, False),
    ('F0_<"*', ".", False, False),
    ('F0_<"*', "..", False, False),
    ('F0_<"*', "SETUP.EXE", False, False),
    ('F0_<"*', "f0_", True, True),
    ('F0_<"*', "F0_", False, True),
    ('F0_<"*', "f0_.", False, False),
    ('F0_<"*', "f0_.", True, True),
    ('F0_<"*', "F0_.", False, True),
    ('F0_<"*', "F0_001", False, True),
    ('F0_<"*', "F0_001", True, True),
    ('F0_<"*', "f0_001", False, False),
    ('F0_<"*', "f0_001", True, True),
    ('F0_<"*', "F0_001.", False, True),
    ('F0_<"*', "f0_001.txt", False, False),
    ('F0_<"*', "f0_001.txt", True, True),
    ('F0_<"*', "F0_001.txt", False, True),
    ('F0_<"*', "F0_001.txt", True, True),
    ("*.TTF", ".", False, False),
    ("*.TTF", "..", False, False),
    ("*.TTF", "SETUP.INI", False, False),
    ("*", ".", False, True),
    ("*", "..", False, True),
    ("*", "SETUP.INI", False, True),
    (".*", "1", False, False),
    (".*", "01", False, False),
    (".*", " ", False, False),
    (".*", "", False, False),
    (".*", ".", False, True),
    (".*", "1.txt", False, False),
    (".*", " .txt", False, False),
    (".*", ".txt", False, True),
    ('"ntoskrnl.exe', "ntoskrnl.exe", False, False),
    ('ntoskrnl"exe', "ntoskrnl.exe", False, True),
    ('ntoskrn".exe', "ntoskrnl.exe", False, False),
    ('ntoskrn""exe', "ntoskrnl.exe", False, False),
    ('ntoskrnl."exe', "ntoskrnl.exe", False, False),
    ('ntoskrnl.exe"', "ntoskrnl.exe", False, True),
    ("ntoskrnl.exe", "ntoskrnl.exe", False, True),
    ("*.c.d", "a.b.c.d", False, True),
    ("*.?.c.d", "a.b.c.d", False, True),
    ("**.?.c.d", "a.b.c.d", False, True),
    ("a.**.c.d", "a.b.c.d", False, True),
    ("a.b.??.d", "a.b.c1.d", False, True),
    ("a.b.??.d", "a.b.c.d", False, False),
    ("a.b.*?.d", "a.b.c.d", False, True),
    ("a.b.*??.d", "a.b.ccc.d", False, True),
    ("a.b.*??.d", "a.b.cc.d", False, True),
    ("a.b.*??.d", "a.b.c.d", False, False),
    ("a.b.*?*.d", "a.b.c.d", False, True),
    ("*?", "", False, False),
    ("*?", "a", False, True),
    ("*?", "aa", False, True),
    ("*?", "aaa", False, True),
    ("?*?", "", False, False),
    ("?*?", "a", False, False),
    ("?*?", "aa", False, True),
    ("?*?", "aaa", False, True),
    ("?*?", "aaaa", False, True),
    ("C:\\ReactOS\\**", "C:\\ReactOS\\dings.bmp", False, True),
    ("C:\\ReactOS\\***", "C:\\ReactOS\\dings.bmp", False, True),
    ("C:\\Windows\\*a*", "C:\\ReactOS\\dings.bmp", False, False),
    ("C:\\ReactOS\\*.bmp", "C:\\Windows\\explorer.exe", False, False),
    ("*.bmp;*.dib", "winhlp32.exe", False, False),
    ("*.*.*.*", "127.0.0.1", False, True),
    ("*?*?*?*", "1.0.0.1", False, True),
    ("?*?*?*?", "1.0.0.1", False, True),
    ("?.?.?.?", "1.0.0.1", False, True),
    ("*a*ab*abc", "aabaabcdadabdabc", False, True),
    ("ab<exe", "abcd.exe", False, True),
    ("ab<exe", "ab.exe", False, True),
    ("ab<exe", "abcdexe", False, True),
    ("ab<exe", "acd.exe", False, False),
    ("a.b<exe", "a.bcd.exe", False, True),
    ("a<b.exe", "a.bcd.exe", False, False),
    ("a.b.exe", "a.bcd.exe", False, False),
    ("abc.exe", "abc.exe", False, True),
    ("abc.exe", "abc.exe.", False, False),
    ("abc.exe", "abc.exe.back", False, False),
    ("abc.exe", "abc.exes", False, False),
    ("a>c.exe", "abc.exe", False, True),
    ("a>c.exe", "ac.exe", False, False),
    ("a>>>exe", "abc.exe", False, False),
    ("a>>>exe", "ac.exe", False, False),
    ("<.exe", "test.exe", False, True),
    ("<.EXE", "test.exe", True, True),
    (
        "*_MICROSOFT.WINDOWS.COMMON-CONTROLS_6595B64144CCF1DF_6.0.*.*_*_*.MANIFEST",
        "X86_MICROSOFT.VC90.ATL_1FC8B3B9A1E18E3B_9.0.30729.6161_X-WW_92453BB7.CAT",
        False,
        False,
    ),
    ("FI<<<<<<<<", "FILE", False, True),
    ("<<<<<<<<<.<", ".", False, True),
    ("F<", "FILE.TXT", False, False),
]
"""Expression, name, IgnoreCase, whether they match."""


def ansi(text: str):
    made = STRING()
    block = ExAllocatePoolWithTag(PagedPool, max(len(text), 1), TAG)
    for index, byte in enumerate(text.encode("latin-1")):
        cast(block, UCHAR)[index] = byte
    made.Buffer, made.Length, made.MaximumLength = block, len(text), len(text)
    return made


def test_expressions_match_as_the_test_suite_says(value_of) -> None:
    def body() -> list:
        return [
            bool(FsRtlIsNameInExpression(UNICODE_STRING(e), UNICODE_STRING(n), ignore, NULL))
            for e, n, ignore, _ in CASES
        ]

    found = value_of(body)
    wrong = [case for case, result in zip(CASES, found, strict=True) if result != case[3]]
    assert wrong == []


def test_8_bit_expressions_match_alike(value_of) -> None:
    cases = [case for case in CASES if not case[2]]

    def body() -> list:
        return [bool(FsRtlIsDbcsInExpression(ansi(e), ansi(n))) for e, n, _, _ in cases]

    assert value_of(body) == [case[3] for case in cases]


@pytest.mark.parametrize(
    ("path", "first", "rest"),
    [
        ("", None, None), ("a", (0, 1), None), ("a\\b", (0, 1), (2, 1)), ("a\\", (0, 1), (2, 0)),
        ("\\b", (1, 1), None), ("\\", (1, 0), None), ("a\\b\\c", (0, 1), (2, 3)),
        ("\\a\\b\\c", (1, 1), (3, 3)), ("/a/b", (0, 4), None),
        ("Good Evening!\\Good Night", (0, 13), (14, 10)), ("\\\\", (1, 0), (2, 0)),
        ("a\\\\", (0, 1), (2, 1)), ("\\\\b", (1, 0), (2, 1)), ("a\\\\b", (0, 1), (2, 2)),
        ("\\\\\\b", (1, 0), (2, 2)), ("a\\\\\\\\b", (0, 1), (2, 4)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("wide", [True, False])
def test_a_path_is_dissected(value_of, path, first, rest, wide) -> None:
    """FsRtlDissect.c: offset and length of the first name and of the rest."""

    def body() -> list:
        whole = UNICODE_STRING(path) if wide else ansi(path)
        one, two = (UNICODE_STRING(), UNICODE_STRING()) if wide else (STRING(), STRING())
        (FsRtlDissectName if wide else FsRtlDissectDbcs)(whole, one, two)
        width = 2 if wide else 1
        return [
            ((int(s.Buffer) - int(whole.Buffer)) // width, s.Length // width)
            if int(s.Buffer) else None
            for s in (one, two)
        ]  # fmt: skip

    assert value_of(body) == [first, rest]


def test_wildcards_equality_and_statuses(value_of) -> None:
    def body() -> list:
        wild = [bool(FsRtlDoesNameContainWildCards(UNICODE_STRING(n))) for n in ("a*", "a", 'b"')]
        one, two = UNICODE_STRING("Name"), UNICODE_STRING("nAME")
        equal = [bool(FsRtlAreNamesEqual(one, two, ignore, NULL)) for ignore in (TRUE, FALSE)]
        return [
            wild, bool(FsRtlDoesDbcsContainWildCards(ansi("x?"))), equal,
            FsRtlNormalizeNtstatus(STATUS_DISK_FULL, STATUS_UNSUCCESSFUL),
            FsRtlNormalizeNtstatus(STATUS_ACCESS_VIOLATION, STATUS_UNSUCCESSFUL),
        ]  # fmt: skip

    assert value_of(body) == [
        [True, False, True], True, [True, False], STATUS_DISK_FULL, STATUS_UNSUCCESSFUL,
    ]  # fmt: skip
