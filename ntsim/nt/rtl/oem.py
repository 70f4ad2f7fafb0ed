"""The OEM code page, 437: which characters a file system with 8-bit names can store.

Characters that Windows fits in by likeness (full-width letters) are not valid here. Source: WDK
RtlIsValidOemCharacter; ReactOS kmtests RtlIsValidOemCharacter.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import BOOLEAN, WCHAR
from ntsim.nt.exports import OutOpt, export
from ntsim.nt.rtl.upcase import upcase_char

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

OEM_CODE_PAGE = "cp437"
DEFAULT_CHARACTER = "?"


@export(irql="== PASSIVE")
def RtlIsValidOemCharacter(nt: Kernel, Char: OutOpt[WCHAR]) -> BOOLEAN:
    """Make *Char a capital; whether the code page has it. Its default character counts as not."""
    capital = upcase_char(chr(Char[0]))
    Char[0] = ord(capital)
    if capital == DEFAULT_CHARACTER:
        return False
    return bool(capital.encode(OEM_CODE_PAGE, "ignore"))
