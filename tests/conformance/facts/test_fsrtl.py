"""Facts of file systems' helpers: the tunnel cache, legal names, dots in paths."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, Facts, as_tests, text_of, variable

TUNNELS = Facts(f"{KMTESTS}/ntos_fsrtl/FsRtlTunnel.c")
LEGAL = Facts(f"{KMTESTS}/ntos_fsrtl/FsRtlLegal.c")
DOTS = Facts(f"{KMTESTS}/novp_fsrtl/FsRtlRemoveDotsFromPath.c")
SHORT, LONG = "LONGFI~1.TXT", "Longfilename.txt"
SHORT2, LONG2 = "LONGFI~2.TXT", "Longfilenamr.txt"


class Tunnel:
    """A cache, and room for what is found in it."""

    def __init__(self) -> None:
        self.cache = cast(ExAllocatePoolZero(NonPagedPool, TUNNEL.size, 1), PTUNNEL)
        self.blank = read_bytes(int(self.cache), TUNNEL.size)
        FsRtlInitializeTunnelCache(self.cache)
        self.short, self.long = UNICODE_STRING(), UNICODE_STRING()
        for string, characters in ((self.short, 13), (self.long, 17)):
            string.MaximumLength = characters * 2
            string.Buffer = ExAllocatePoolZero(PagedPool, characters * 2, 1)
        self.buffer = int(self.long.Buffer)

    def add(self, value: int, short: str = SHORT, long: str = LONG, key: int = 1) -> None:
        data = variable(ULONG, value)
        names = (UNICODE_STRING(short), UNICODE_STRING(long))
        FsRtlAddToTunnelCache(self.cache, key, *names, TRUE, 4, data)

    def find(self, short: str = SHORT, key: int = 1) -> int | None:
        """The data, None if there is no entry."""
        data, length = ULONG(), variable(ULONG, 4)
        name = UNICODE_STRING(short)
        found = FsRtlFindInTunnelCache(
            self.cache, key, name, self.short, self.long, length, data
        )
        assert not found or length[0] == 4
        return data[0] if found else None


@TUNNELS.fact(True)
def initializing_changes_the_structure() -> bool:
    tunnel = Tunnel()
    return read_bytes(int(tunnel.cache), TUNNEL.size) != tunnel.blank


@TUNNELS.fact([1, True, 2, True, LONG])
def an_entry_is_found_and_a_second_one_replaces_it() -> list[Any]:
    tunnel = Tunnel()
    seen: list[Any] = []
    for value in (1, 2):
        tunnel.add(value)
        seen += [tunnel.find(), int(tunnel.long.Buffer) == tunnel.buffer]
    return [*seen, text_of(tunnel.long)]


@TUNNELS.fact([2, True, 32, LONG])
def a_long_name_without_room_gets_a_new_buffer_of_its_size() -> list[Any]:
    tunnel = Tunnel()
    tunnel.add(2)
    tunnel.long.MaximumLength = 26
    found = tunnel.find()
    other = int(tunnel.long.Buffer) != tunnel.buffer
    return [found, other, tunnel.long.MaximumLength, text_of(tunnel.long)]


@TUNNELS.fact([None, None, 3])
def deleting_a_key_forgets_its_directory_alone() -> list[Any]:
    tunnel = Tunnel()
    tunnel.add(1)
    tunnel.add(2, SHORT2, LONG2)
    tunnel.add(3, key=2)
    FsRtlDeleteKeyFromTunnelCache(tunnel.cache, 1)
    return [tunnel.find(), tunnel.find(SHORT2), tunnel.find(key=2)]


@TUNNELS.fact([[1, None], [1, 1], [2, 1], [2, 2]])
def entries_of_one_directory_do_not_disturb_each_other() -> list[Any]:
    tunnel = Tunnel()
    seen = []
    for value, names in ((1, (SHORT, LONG)), (1, (SHORT2, LONG2)), (2, (SHORT, LONG)),
                         (2, (SHORT2, LONG2))):  # fmt: skip
        tunnel.add(value, *names)
        seen.append([tunnel.find(), tunnel.find(SHORT2)])
    return seen


@TUNNELS.fact([7, None, None])
def an_entry_keyed_by_its_long_name_is_found_by_that_and_the_case_does_not_matter() -> list[Any]:
    tunnel = Tunnel()
    data, nothing = variable(ULONG, 7), UNICODE_STRING()
    FsRtlAddToTunnelCache(tunnel.cache, 5, nothing, UNICODE_STRING(LONG), FALSE, 4, data)
    found = [tunnel.find(LONG.upper(), 5), tunnel.find("", 5)]
    FsRtlDeleteTunnelCache(tunnel.cache)
    return [*found, tunnel.find(LONG, 5)]


NAMES = {
    "": "", "a": "FH", "A": "FH", ".": "FHw", "..": "FHw", "...": "", "A ": "", " ": "", " A": "FH",
    " A ": "", "A.": "", ".A": "H", ".A.": "", "*": "FHw", "?": "FHw", "????????.???": "FHw",
    "????????????": "FHw", "????????.????": "FHw", "??????????????????": "FHw",
    "?*?*?*?*?*?*?*?*?*": "FHw", "ABCDEFGHIJKLMNOPQ*": "FHw", "ABCDEFGHI\\*": "Hwp",
    "*\\ABCDEFGHI": "Hwp", "?.?.?": "FHw", "?..?": "FHw", "? ": "Fw", " ?": "FHw", "?.": "Fw",
    ".?": "FHw", "? .?": "FHw", "A?A": "FHw", "A*A": "FHw", "A<A": "FHw", "A>A": "FHw",
    'A"A': "FHw", "A'A": "FH", "A:A": "", "A\x1fG": "", "A\x01G": "", "A\x0aG": "", "A\x0dG": "",
    "\x7f": "FH", "\x80": "FH", "\xff": "FH", "ABCDEFGH.IJK": "FH", "ABCDEFGHX.IJK": "H",
    "ABCDEFGHX.IJ": "H", "ABCDEFGH.IJKX": "H", "ABCDEFG.IJKX": "H", "ABCDEFGH": "FH",
    "ABCDEFGHX": "H", "A.B": "FH", "A..B": "H", "A.B.": "", "A.B.C": "H", "A .B": "H",
    " A .B": "H", "A. B": "FH", "A. B ": "", " A . B": "H", " A . B ": "",
    "\\ABCDEFGH.IJK": "FHr", "ABCDEFGH.IJK\\": "FHp", "\\ABCDEFGH.IJK\\": "FHpr", "\\": "FHr",
    "\\\\": "", "\\\\B": "", "A\\": "FHp", "A\\B": "FHp", "A\\\\": "", "A\\\\B": "",
    "\\".join(f"{i % 10}BCDEF.HI" for i in range(27)): "FHp",
    "\\".join(f"{i % 10}BCDEF.HI" for i in range(27)) + "\\": "FHp",
    "\\".join(f"{i % 10}BCDEF.HI" for i in range(27)) + "\\7": "FHp",
    "ABCDEFGHI1" * 25 + "ABCDE": "H", "ABCDEFGHI1" * 25 + "ABCDEF": "",
    "ABCDEFGHI1" * 25 + "ABCDE\\ABC": "Hp",
}  # fmt: skip
"""What a name is: F legal on FAT, H on HPFS; w with wildcards, p a path, r with a backslash before
it, each of which must be allowed."""


def allowed(system: str, traits: str) -> list[bool]:
    """For each of the eight combinations of what the caller allows."""
    needs = sum(bit for trait, bit in (("w", 1), ("p", 2), ("r", 4)) if trait in traits)
    return [system in traits and not needs & ~flags for flags in range(8)]


def answers(routine: Any, name: str) -> list[bool]:
    string = STRING()
    data = name.encode("latin-1")
    string.Buffer = ExAllocatePoolZero(PagedPool, len(data) + 1, 1)
    write_bytes(int(string.Buffer), data)
    string.Length = string.MaximumLength = len(data)
    return [
        bool(routine(string, flags & 1, flags >> 1 & 1, flags >> 2 & 1)) for flags in range(8)
    ]


@LEGAL.fact({name: allowed("F", traits) for name, traits in NAMES.items()})
def these_names_are_legal_on_fat_if_their_liberties_are_granted() -> dict[str, list[bool]]:
    return {name: answers(FsRtlIsFatDbcsLegal, name) for name in NAMES}


@LEGAL.fact({name: allowed("H", traits) for name, traits in NAMES.items()})
def these_names_are_legal_on_hpfs_if_their_liberties_are_granted() -> dict[str, list[bool]]:
    return {name: answers(FsRtlIsHpfsDbcsLegal, name) for name in NAMES}


OLE, WILD = FSRTL_OLE_LEGAL, FSRTL_WILD_CHARACTER
ALL = OLE | FSRTL_FAT_LEGAL | FSRTL_HPFS_LEGAL | FSRTL_NTFS_LEGAL
SPECIAL = dict.fromkeys("\0/\\", 0) | dict.fromkeys('"*<>?', OLE | WILD) | {
    "!": ALL & ~OLE, ".": ALL & ~OLE, ":": FSRTL_NTFS_LEGAL, "|": OLE,
} | dict.fromkeys("+,;=[]", ALL & ~FSRTL_FAT_LEGAL)  # fmt: skip


@LEGAL.fact([SPECIAL.get(chr(i), OLE if i < 0x20 else ALL) for i in range(128)])
def the_array_of_legal_characters() -> list[int]:
    return list(read_bytes(FsRtlLegalAnsiCharacterArray[0], 128))


@LEGAL.fact([])
def the_macros_say_what_the_array_says() -> list[int]:
    array = read_bytes(FsRtlLegalAnsiCharacterArray[0], 128)
    tests = (
        (FsRtlIsAnsiCharacterLegalFat, FSRTL_FAT_LEGAL),
        (FsRtlIsAnsiCharacterLegalHpfs, FSRTL_HPFS_LEGAL),
        (FsRtlIsAnsiCharacterLegalNtfs, FSRTL_NTFS_LEGAL),
        (FsRtlIsAnsiCharacterLegalNtfsStream, FSRTL_NTFS_STREAM_LEGAL),
    )
    wrong = [
        i
        for i in range(128)
        for macro, bits in tests
        if bool(macro(i, FALSE)) != bool(array[i] & bits)
        or bool(macro(i, TRUE)) != bool(array[i] & (bits | WILD))
    ]
    wild = FsRtlIsAnsiCharacterWild
    return wrong + [i for i in range(128) if bool(wild(i)) != bool(array[i] & WILD)]


PATHS = {
    "\\..": None, "..": None, "..\\anyOtherContent": None, "\\\\..": "\\",
    "\\dir1\\dir2\\..\\dir3\\.\\file.txt": "\\dir1\\dir3\\file.txt",
}  # fmt: skip


@DOTS.fact(
    lambda path: [STATUS_SUCCESS, PATHS[path]] if PATHS[path] else [STATUS_IO_REPARSE_DATA_INVALID],
    path=list(PATHS),
)
def dots_are_taken_out_of_a_path_and_none_may_lead_above_it(path: str) -> list[Any]:
    string = UNICODE_STRING(path)
    buffer = ExAllocatePoolZero(PagedPool, 512, 1)
    write_bytes(buffer, read_bytes(int(string.Buffer), string.Length))
    length = USHORT()
    status = FsRtlRemoveDotsFromPath(buffer, string.Length, length)
    if status:
        return [status]
    data = read_bytes(buffer, length[0] + 2).decode("utf-16-le")
    assert data[-1] == "\0"
    return [status, data[:-1]]


test_fact = as_tests(TUNNELS, LEGAL, DOTS)
