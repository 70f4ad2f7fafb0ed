"""Classes and case of characters, and their conversion, in the kernel's C run-time library.

The kernel's locale is "C" for 8-bit characters and the system code page for conversions; wide
characters are folded by the kernel's own table. Source: Microsoft C run-time reference, "isalpha,
iswalpha", "mbstowcs", "wcstombs", "_strupr, _wcsupr" and neighbours; the kernel's export table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import INT, LONG, PCSTR, PCWSTR, PSTR, PWSTR, SIZE_T, WCHAR
from ntsim.nt.exports import export
from ntsim.nt.rtl.codepage import ansi_decode, ansi_encode, wide_decode, wide_encode
from ntsim.nt.rtl.crt import atoi
from ntsim.nt.rtl.cstring import narrow_bytes, wide_bytes
from ntsim.nt.rtl.upcase import downcase, upcase

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

UPPER, LOWER, DIGIT, SPACE, PUNCTUATION, CONTROL, BLANK, HEX = (1 << i for i in range(8))
"""What the routines return for a character that belongs to the class, as Microsoft's do."""


def _class(code: int) -> int:
    if not 0 <= code < 0x80:
        return 0
    character = chr(code)
    found = UPPER * (0x41 <= code <= 0x5A) | LOWER * (0x61 <= code <= 0x7A)
    found |= DIGIT * character.isdigit() | HEX * (character in "0123456789ABCDEFabcdef")
    found |= SPACE * (code == 0x20 or 9 <= code <= 13) | BLANK * (code == 0x20)
    found |= CONTROL * (code < 0x20 or code == 0x7F)
    return found | PUNCTUATION * (0x20 < code < 0x7F and not character.isalnum())


@export(irql="any")
def isdigit(nt: Kernel, Character: INT) -> INT:
    """Not zero for 0 to 9."""
    return _class(Character) & DIGIT


@export(irql="any")
def isxdigit(nt: Kernel, Character: INT) -> INT:
    """Not zero for 0 to 9, A to F, a to f."""
    return _class(Character) & HEX


@export(irql="any")
def isspace(nt: Kernel, Character: INT) -> INT:
    """Not zero for a space and codes 9 to 13."""
    return _class(Character) & SPACE


@export(irql="any")
def isupper(nt: Kernel, Character: INT) -> INT:
    """Not zero for A to Z."""
    return _class(Character) & UPPER


@export(irql="any")
def islower(nt: Kernel, Character: INT) -> INT:
    """Not zero for a to z."""
    return _class(Character) & LOWER


@export(irql="any")
def isprint(nt: Kernel, Character: INT) -> INT:
    """Not zero for codes 20h to 7Eh."""
    return _class(Character) & (UPPER | LOWER | DIGIT | PUNCTUATION | BLANK)


@export(irql="any")
def towlower(nt: Kernel, Character: WCHAR) -> WCHAR:
    """The small letter of a wide character, or itself."""
    return ord(downcase(chr(Character & 0xFFFF)))


@export(irql="any")
def towupper(nt: Kernel, Character: WCHAR) -> WCHAR:
    """The capital of a wide character, or itself."""
    return ord(upcase(chr(Character & 0xFFFF)))


@export(irql="any")
def _wcsupr(nt: Kernel, String: PWSTR) -> PWSTR:
    """Capitals in place; the string."""
    nt.mmu.write(int(String), wide_encode(upcase(wide_decode(wide_bytes(nt.mmu, String)))))
    return int(String)


@export(irql="any")
def _wcslwr(nt: Kernel, String: PWSTR) -> PWSTR:
    """Small letters in place; the string."""
    nt.mmu.write(int(String), wide_encode(downcase(wide_decode(wide_bytes(nt.mmu, String)))))
    return int(String)


@export(irql="any")
def atol(nt: Kernel, String: PCSTR) -> LONG:
    """As atoi: a LONG has 32 bits, too."""
    return atoi(nt, String)


@export(irql="<= APC")
def mbstowcs(nt: Kernel, WideString: PWSTR, String: PCSTR, Count: SIZE_T) -> SIZE_T:
    """Convert at most Count characters, and a NUL if there is room; how many, the NUL left out.

    WideString NULL asks for the number alone.
    """
    if not WideString:
        return len(narrow_bytes(nt.mmu, String))
    data = narrow_bytes(nt.mmu, String, Count)
    made = wide_encode(ansi_decode(data))
    nt.mmu.write(int(WideString), (made + b"\0\0")[: 2 * Count])
    return len(made) // 2


@export(irql="<= APC")
def wcstombs(nt: Kernel, String: PSTR, WideString: PCWSTR, Count: SIZE_T) -> SIZE_T:
    """Convert at most Count characters, and a NUL if there is room; how many, the NUL left out.

    String NULL asks for the number alone.
    """
    if not String:
        return len(wide_bytes(nt.mmu, WideString)) // 2
    made = ansi_encode(wide_decode(wide_bytes(nt.mmu, WideString, Count)))
    nt.mmu.write(int(String), (made + b"\0")[:Count])
    return len(made)


@export(irql="<= APC")
def mbtowc(nt: Kernel, WideCharacter: PWSTR, String: PCSTR, Count: SIZE_T) -> INT:
    """Convert one character: 1, 0 for a NUL or for no string, -1 if Count is 0."""
    if not String:
        return 0
    if not Count:
        return -1
    byte = nt.mmu.read(int(String), 1)
    if WideCharacter:
        nt.mmu.write(int(WideCharacter), wide_encode(ansi_decode(byte)))
    return int(byte != b"\0")


@export(irql="<= APC")
def wctomb(nt: Kernel, String: PSTR, Character: WCHAR) -> INT:
    """Store one wide character as 8 bits: 1 byte, 0 if there is no string."""
    if not String:
        return 0
    nt.mmu.write(int(String), ansi_encode(chr(Character & 0xFFFF)))
    return 1
