"""String routines of the C run-time library that the kernel exports, 8-bit and wide.

They work on characters one by one and know nothing of a buffer's size. Source: C run-time library
reference; the kernel's export table.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from ntsim.abi.scalars import INT, PCSTR, PCWSTR, PSTR, PWSTR, SIZE_T, WCHAR
from ntsim.nt.exports import export
from ntsim.nt.rtl.codepage import ansi_decode, wide_decode, wide_encode
from ntsim.nt.rtl.cstring import narrow_bytes, wide_bytes
from ntsim.nt.rtl.memory import fill_memory
from ntsim.nt.rtl.numbers import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ntsim.nt.kernel import Kernel


def difference(one: Sequence[int], two: Sequence[int]) -> int:
    """-1, 0 or 1: the order of two strings given without their terminators."""
    for a, b in zip(one, two, strict=False):
        if a != b:
            return 1 if a > b else -1
    return (len(one) > len(two)) - (len(one) < len(two))


def units(nt: Kernel, string: int, limit: int | None = None) -> array[int]:
    """The characters of a wide string."""
    return array("H", wide_bytes(nt.mmu, int(string), limit))


def folded(nt: Kernel, string: int, limit: int | None = None) -> bytes:
    """The characters of an 8-bit string, A to Z as small letters."""
    return narrow_bytes(nt.mmu, int(string), limit).lower()


def folded_units(nt: Kernel, string: int, limit: int | None = None) -> array[int]:
    """The characters of a wide string in small letters."""
    text = wide_decode(wide_bytes(nt.mmu, int(string), limit))
    return array("H", wide_encode(text.lower() if text.isascii() else text))


def find_units(data: bytes, part: bytes) -> int:
    """Byte offset of an aligned occurrence, -1 if there is none."""
    at = data.find(part)
    while at > 0 and at & 1:
        at = data.find(part, at + 1)
    return at


@export(irql="any")
def strlen(nt: Kernel, String: PCSTR) -> SIZE_T:
    """Characters before the NUL."""
    return len(narrow_bytes(nt.mmu, String))


@export(irql="any")
def strnlen(nt: Kernel, String: PCSTR, Count: SIZE_T) -> SIZE_T:
    """Characters before the NUL, at most Count."""
    return len(narrow_bytes(nt.mmu, String, Count))


@export(irql="any")
def wcslen(nt: Kernel, String: PCWSTR) -> SIZE_T:
    """Characters before the NUL."""
    return len(wide_bytes(nt.mmu, String)) // 2


@export(irql="any")
def wcsnlen(nt: Kernel, String: PCWSTR, Count: SIZE_T) -> SIZE_T:
    """Characters before the NUL, at most Count."""
    return len(wide_bytes(nt.mmu, String, Count)) // 2


@export(irql="any")
def strcmp(nt: Kernel, String1: PCSTR, String2: PCSTR) -> INT:
    """Order of two strings."""
    return difference(narrow_bytes(nt.mmu, String1), narrow_bytes(nt.mmu, String2))


@export(irql="any")
def strncmp(nt: Kernel, String1: PCSTR, String2: PCSTR, Count: SIZE_T) -> INT:
    """Order of the first Count characters of two strings."""
    one, two = narrow_bytes(nt.mmu, String1, Count), narrow_bytes(nt.mmu, String2, Count)
    return difference(one, two)


@export(irql="any", aliases=("_strcmpi",))
def _stricmp(nt: Kernel, String1: PCSTR, String2: PCSTR) -> INT:
    """Order of two strings without regard to case (A to Z)."""
    return difference(folded(nt, String1), folded(nt, String2))


@export(irql="any")
def _strnicmp(nt: Kernel, String1: PCSTR, String2: PCSTR, Count: SIZE_T) -> INT:
    """Order of the first Count characters without regard to case (A to Z)."""
    return difference(folded(nt, String1, Count), folded(nt, String2, Count))


@export(irql="any")
def wcscmp(nt: Kernel, String1: PCWSTR, String2: PCWSTR) -> INT:
    """Order of two wide strings."""
    return difference(units(nt, String1), units(nt, String2))


@export(irql="any")
def wcsncmp(nt: Kernel, String1: PCWSTR, String2: PCWSTR, Count: SIZE_T) -> INT:
    """Order of the first Count characters of two wide strings."""
    return difference(units(nt, String1, Count), units(nt, String2, Count))


@export(irql="any")
def _wcsicmp(nt: Kernel, String1: PCWSTR, String2: PCWSTR) -> INT:
    """Order of two wide strings without regard to case (A to Z)."""
    return difference(folded_units(nt, String1), folded_units(nt, String2))


@export(irql="any")
def _wcsnicmp(nt: Kernel, String1: PCWSTR, String2: PCWSTR, Count: SIZE_T) -> INT:
    """Order of the first Count characters without regard to case (A to Z)."""
    return difference(folded_units(nt, String1, Count), folded_units(nt, String2, Count))


@export(irql="any")
def strcpy(nt: Kernel, Destination: PSTR, Source: PCSTR) -> PSTR:
    """Copy with the NUL, whatever the destination can hold."""
    nt.mmu.write(int(Destination), narrow_bytes(nt.mmu, Source) + b"\0")
    return Destination


@export(irql="any")
def strncpy(nt: Kernel, Destination: PSTR, Source: PCSTR, Count: SIZE_T) -> PSTR:
    """Exactly Count characters: padded with NULs, or cut without one."""
    data = narrow_bytes(nt.mmu, Source, Count)
    nt.mmu.write(int(Destination), data)
    fill_memory(nt.mmu, int(Destination) + len(data), 0, Count - len(data))
    return Destination


@export(irql="any")
def strcat(nt: Kernel, Destination: PSTR, Source: PCSTR) -> PSTR:
    """Append, whatever the destination can hold."""
    end = int(Destination) + len(narrow_bytes(nt.mmu, Destination))
    nt.mmu.write(end, narrow_bytes(nt.mmu, Source) + b"\0")
    return Destination


@export(irql="any")
def strncat(nt: Kernel, Destination: PSTR, Source: PCSTR, Count: SIZE_T) -> PSTR:
    """Append at most Count characters and a NUL."""
    end = int(Destination) + len(narrow_bytes(nt.mmu, Destination))
    nt.mmu.write(end, narrow_bytes(nt.mmu, Source, Count) + b"\0")
    return Destination


@export(irql="any")
def wcscpy(nt: Kernel, Destination: PWSTR, Source: PCWSTR) -> PWSTR:
    """Copy with the NUL, whatever the destination can hold."""
    nt.mmu.write(int(Destination), wide_bytes(nt.mmu, Source) + b"\0\0")
    return Destination


@export(irql="any")
def wcsncpy(nt: Kernel, Destination: PWSTR, Source: PCWSTR, Count: SIZE_T) -> PWSTR:
    """Exactly Count characters: padded with NULs, or cut without one."""
    data = wide_bytes(nt.mmu, Source, Count)
    nt.mmu.write(int(Destination), data)
    fill_memory(nt.mmu, int(Destination) + len(data), 0, Count * 2 - len(data))
    return Destination


@export(irql="any")
def wcscat(nt: Kernel, Destination: PWSTR, Source: PCWSTR) -> PWSTR:
    """Append, whatever the destination can hold."""
    end = int(Destination) + len(wide_bytes(nt.mmu, Destination))
    nt.mmu.write(end, wide_bytes(nt.mmu, Source) + b"\0\0")
    return Destination


@export(irql="any")
def wcsncat(nt: Kernel, Destination: PWSTR, Source: PCWSTR, Count: SIZE_T) -> PWSTR:
    """Append at most Count characters and a NUL."""
    end = int(Destination) + len(wide_bytes(nt.mmu, Destination))
    nt.mmu.write(end, wide_bytes(nt.mmu, Source, Count) + b"\0\0")
    return Destination


@export(irql="any")
def strchr(nt: Kernel, String: PCSTR, Character: INT) -> PSTR:
    """First occurrence, the NUL counting as a character; NULL if there is none."""
    at = (narrow_bytes(nt.mmu, String) + b"\0").find(Character & 0xFF)
    return int(String) + at if at >= 0 else 0


@export(irql="any")
def strrchr(nt: Kernel, String: PCSTR, Character: INT) -> PSTR:
    """Last occurrence, the NUL counting as a character; NULL if there is none."""
    at = (narrow_bytes(nt.mmu, String) + b"\0").rfind(Character & 0xFF)
    return int(String) + at if at >= 0 else 0


@export(irql="any")
def strstr(nt: Kernel, String: PCSTR, SubString: PCSTR) -> PSTR:
    """First occurrence of a string, NULL if there is none."""
    at = narrow_bytes(nt.mmu, String).find(narrow_bytes(nt.mmu, SubString))
    return int(String) + at if at >= 0 else 0


@export(irql="any")
def wcschr(nt: Kernel, String: PCWSTR, Character: WCHAR) -> PWSTR:
    """First occurrence, the NUL counting as a character; NULL if there is none."""
    found = [*units(nt, String), 0]
    code = Character & 0xFFFF
    return int(String) + 2 * found.index(code) if code in found else 0


@export(irql="any")
def wcsrchr(nt: Kernel, String: PCWSTR, Character: WCHAR) -> PWSTR:
    """Last occurrence, the NUL counting as a character; NULL if there is none."""
    found = [*units(nt, String), 0]
    code = Character & 0xFFFF
    if code not in found:
        return 0
    return int(String) + 2 * (len(found) - 1 - found[::-1].index(code))


@export(irql="any")
def wcsstr(nt: Kernel, String: PCWSTR, SubString: PCWSTR) -> PWSTR:
    """First occurrence of a string, NULL if there is none."""
    at = find_units(wide_bytes(nt.mmu, String), wide_bytes(nt.mmu, SubString))
    return int(String) + at if at >= 0 else 0


@export(irql="any")
def tolower(nt: Kernel, Character: INT) -> INT:
    """The small letter of A to Z, any other character as it is."""
    return Character + 32 if 0x41 <= Character <= 0x5A else Character


@export(irql="any")
def toupper(nt: Kernel, Character: INT) -> INT:
    """The capital of a to z, any other character as it is."""
    return Character - 32 if 0x61 <= Character <= 0x7A else Character


@export(irql="any")
def atoi(nt: Kernel, String: PCSTR) -> INT:
    """The decimal number at the start, 0 if there is none."""
    found = parse(ansi_decode(narrow_bytes(nt.mmu, String)), 10)
    return found[0] if found else 0
