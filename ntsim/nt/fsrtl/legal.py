"""Which characters and names file systems allow.

FsRtlLegalAnsiCharacterArray has a byte of bits for each of the first 128 characters. Of others the
caller says what they are; in the 8-bit names of this machine's code page they are legal. Source:
ntifs.h FsRtlTestAnsiCharacter; WDK FsRtlIsFatDbcsLegal, FsRtlIsHpfsDbcsLegal,
FsRtlRemoveDotsFromPath; ReactOS kmtests FsRtlLegal.c, FsRtlRemoveDotsFromPath.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import BOOLEAN, INT, NTSTATUS, PWSTR, UCHAR, ULONG, USHORT
from ntsim.abi.wdm_constants import (
    FSRTL_FAT_LEGAL,
    FSRTL_HPFS_LEGAL,
    FSRTL_NTFS_LEGAL,
    FSRTL_NTFS_STREAM_LEGAL,
    FSRTL_OLE_LEGAL,
    FSRTL_WILD_CHARACTER,
)
from ntsim.nt.exports import Out, export
from ntsim.nt.mm.variables import mi_variable

if TYPE_CHECKING:
    from ntsim.abi.rtl import PSTRING
    from ntsim.nt.kernel import Kernel

WILD_CHARACTERS, BACKSLASH = b'"*<>?', 0x5C
HPFS_LONGEST, FAT_LONGEST, FAT_BASE, FAT_EXTENSION = 255, 12, 8, 3


def _bits_of(code: int) -> int:
    """What one of the first 128 characters is legal in."""
    if code in b"\0/\\":
        return 0
    if code < 0x20 or code == ord("|"):
        return FSRTL_OLE_LEGAL
    if code == ord(":"):
        return FSRTL_NTFS_LEGAL
    if code in WILD_CHARACTERS:
        return FSRTL_OLE_LEGAL | FSRTL_WILD_CHARACTER
    bits = FSRTL_HPFS_LEGAL | FSRTL_NTFS_LEGAL
    if code not in b"!.":
        bits |= FSRTL_OLE_LEGAL
    return bits if code in b"+,;=[]" else bits | FSRTL_FAT_LEGAL


LEGAL = bytes(map(_bits_of, range(128)))


def fsrtl_legal_characters(nt: Kernel) -> int:
    """Address of the array, made at boot; FsRtlLegalAnsiCharacterArray points to it."""
    address = mi_variable(nt, "LocalLegalAnsiCharacterArray", len(LEGAL))
    if not nt.mmu.read(address + 1, 1)[0]:
        nt.mmu.write(address, LEGAL)
    return address


def fsrtl_test(code: int, otherwise: int, wild: int, bits: int) -> int:
    """The bits that a character has of those asked for; `otherwise` beyond the first 128."""
    if code & 0x80:
        return otherwise
    return LEGAL[code & 0x7F] & (bits | (FSRTL_WILD_CHARACTER if wild else 0))


@export(irql="any", inline=True)
def FsRtlTestAnsiCharacter(
    nt: Kernel, C: UCHAR, DEFAULT_RET: ULONG, WILD_OK: BOOLEAN, FLAGS: ULONG
) -> ULONG:
    """Not 0 if the character is legal by one of FLAGS, or a wildcard that WILD_OK allows."""
    return fsrtl_test(C, DEFAULT_RET, WILD_OK, FLAGS)


@export(irql="any", inline=True)
def FsRtlIsAnsiCharacterWild(nt: Kernel, C: UCHAR) -> INT:
    """Not 0 for one of the five wildcards."""
    return fsrtl_test(C, 0, True, 0)


@export(irql="any", inline=True)
def FsRtlIsAnsiCharacterLegal(nt: Kernel, C: UCHAR, FLAGS: ULONG) -> INT:
    """Not 0 if legal by one of FLAGS, or not ASCII."""
    return fsrtl_test(C, 1, False, FLAGS)


@export(irql="any", inline=True)
def FsRtlIsAnsiCharacterLegalFat(nt: Kernel, C: UCHAR, WILD_OK: BOOLEAN) -> INT:
    """Not 0 if legal in a name of FAT."""
    return fsrtl_test(C, 1, WILD_OK, FSRTL_FAT_LEGAL)


@export(irql="any", inline=True)
def FsRtlIsAnsiCharacterLegalHpfs(nt: Kernel, C: UCHAR, WILD_OK: BOOLEAN) -> INT:
    """Not 0 if legal in a name of HPFS."""
    return fsrtl_test(C, 1, WILD_OK, FSRTL_HPFS_LEGAL)


@export(irql="any", inline=True)
def FsRtlIsAnsiCharacterLegalNtfs(nt: Kernel, C: UCHAR, WILD_OK: BOOLEAN) -> INT:
    """Not 0 if legal in a name of NTFS."""
    return fsrtl_test(C, 1, WILD_OK, FSRTL_NTFS_LEGAL)


@export(irql="<= APC", inline=True)
def FsRtlIsAnsiCharacterLegalNtfsStream(nt: Kernel, C: UCHAR, WILD_OK: BOOLEAN) -> INT:
    """Not 0 if legal in the name of a stream."""
    return fsrtl_test(C, 1, WILD_OK, FSRTL_NTFS_STREAM_LEGAL)


def fsrtl_has_wild(name: bytes) -> bool:
    return any(code in WILD_CHARACTERS for code in name)


def fat_component(name: bytes, wild: int) -> bool:
    """8.3: one period at most, no blank before it or at the end; free form with wildcards."""
    if not all(fsrtl_test(code, 1, wild, FSRTL_FAT_LEGAL) for code in name):
        return False
    if wild and fsrtl_has_wild(name):
        return True
    base, dot, extension = name.partition(b".")
    if len(name) > FAT_LONGEST or not base or len(base) > FAT_BASE or base.endswith(b" "):
        return False
    if not dot:
        return True
    right = 0 < len(extension) <= FAT_EXTENSION
    return right and b"." not in extension and not extension.endswith(b" ")


def hpfs_component(name: bytes, wild: int) -> bool:
    """Up to 255 characters, the last no blank or period."""
    legal = all(fsrtl_test(code, 1, wild, FSRTL_HPFS_LEGAL) for code in name)
    return legal and len(name) <= HPFS_LONGEST and not name.endswith((b" ", b"."))


def fsrtl_is_legal(nt: Kernel, string: PSTRING, fat: bool, wild: int, path: int, root: int) -> bool:
    """Whether a name, or with `path` a path, is legal."""
    v = string._v
    name = nt.mmu.read(v.Buffer, v.Length) if v.Length else b""
    if not name:
        return False
    component = fat_component if fat else hpfs_component
    if wild and name in (b".", b".."):
        return True
    if name[0] == BACKSLASH:
        if not root:
            return False
        name = name[1:]
    if not path:
        return not name or component(name, wild)
    parts = name.split(b"\\")
    if not parts[-1]:
        parts.pop()
    return all(
        bool(part) and ((wild and part in (b".", b"..")) or component(part, wild))
        for part in parts
    )  # fmt: skip


@export(irql="<= APC")
def FsRtlIsFatDbcsLegal(
    nt: Kernel,
    DbcsName: PSTRING,
    WildCardsPermissible: BOOLEAN,
    PathNamePermissible: BOOLEAN,
    LeadingBackslashPermissible: BOOLEAN,
) -> BOOLEAN:
    """Whether a name is a legal one of FAT, with the liberties that the caller grants.

    DbcsName is a structure by value, which callers pass by its address. Source: WDK.
    """
    options = (WildCardsPermissible, PathNamePermissible, LeadingBackslashPermissible)
    return fsrtl_is_legal(nt, DbcsName, True, *options)


@export(irql="<= APC")
def FsRtlIsHpfsDbcsLegal(
    nt: Kernel,
    DbcsName: PSTRING,
    WildCardsPermissible: BOOLEAN,
    PathNamePermissible: BOOLEAN,
    LeadingBackslashPermissible: BOOLEAN,
) -> BOOLEAN:
    """The same for HPFS. Source: WDK FsRtlIsHpfsDbcsLegal."""
    options = (WildCardsPermissible, PathNamePermissible, LeadingBackslashPermissible)
    return fsrtl_is_legal(nt, DbcsName, False, *options)


@export(irql="== PASSIVE")
def FsRtlRemoveDotsFromPath(
    nt: Kernel, OriginalString: PWSTR, PathLength: USHORT, NewLength: Out[USHORT]
) -> NTSTATUS:
    """Take `.` and `..` out of a path in place; lengths are in bytes, a shorter one is terminated.

    STATUS_IO_REPARSE_DATA_INVALID if a `..` has nothing before it. Source: WDK; ReactOS kmtests.
    """
    text = nt.mmu.read(int(OriginalString), PathLength & ~1).decode("utf-16-le", "surrogatepass")
    rooted = text.startswith("\\")
    kept: list[str] = []
    for part in text[rooted:].split("\\"):
        if part == ".":
            continue
        if part != "..":
            kept.append(part)
        elif kept:
            kept.pop()
        else:
            return ntstatus.STATUS_IO_REPARSE_DATA_INVALID
    data = ("\\" * rooted + "\\".join(kept)).encode("utf-16-le", "surrogatepass")
    if len(data) < PathLength:
        nt.mmu.write(int(OriginalString), data + b"\0\0")
    NewLength[0] = len(data)
    return ntstatus.STATUS_SUCCESS
