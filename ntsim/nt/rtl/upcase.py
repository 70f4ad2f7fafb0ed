"""Upper and lower case as NT's tables have them: one UTF-16 unit to one, and back again.

A character whose capital is several characters (U+00DF), or whose capital's small letter is another
one (U+0131), stays as it is. Source: Windows Internals 7, part 1, chapter 2; RtlUpcaseUnicodeChar.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ntsim.abi.scalars import WCHAR
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


def one_unit(text: str) -> bool:
    return len(text) == 1 and text <= "\uffff"


@cache
def upcase_char(character: str) -> str:
    """The capital of one character."""
    upper = character.upper()
    return upper if one_unit(upper) and upper.lower() == character else character


@cache
def downcase_char(character: str) -> str:
    """The small letter of one character."""
    lower = character.lower()
    return lower if one_unit(lower) and lower.upper() == character else character


def upcase(text: str) -> str:
    """Capitals throughout; as many UTF-16 units as before."""
    return text.upper() if text.isascii() else "".join(map(upcase_char, text))


def downcase(text: str) -> str:
    """Small letters throughout; as many UTF-16 units as before."""
    return text.lower() if text.isascii() else "".join(map(downcase_char, text))


@export(irql="== PASSIVE")
def RtlUpcaseUnicodeChar(nt: Kernel, SourceCharacter: WCHAR) -> WCHAR:
    """The capital of a character. Source: WDK RtlUpcaseUnicodeChar."""
    return ord(upcase_char(chr(SourceCharacter & 0xFFFF)))


@export(irql="== PASSIVE")
def RtlDowncaseUnicodeChar(nt: Kernel, SourceCharacter: WCHAR) -> WCHAR:
    """The small letter of a character. Source: WDK RtlDowncaseUnicodeChar."""
    return ord(downcase_char(chr(SourceCharacter & 0xFFFF)))
