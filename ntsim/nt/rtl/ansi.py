"""STRING and ANSI_STRING: initialise, copy, append, compare. Source: WDK RtlInitAnsiString etc."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import BOOLEAN, CHAR, LONG, NTSTATUS, PCSTR, PVOID, USHORT
from ntsim.nt.exports import export
from ntsim.nt.rtl.codepage import ansi_decode, ansi_encode
from ntsim.nt.rtl.cstring import narrow_bytes
from ntsim.nt.rtl.memory import rtl_copy
from ntsim.nt.rtl.unicode import rtl_string_bytes
from ntsim.nt.rtl.upcase import upcase

if TYPE_CHECKING:
    from ntsim.abi.rtl import PSTRING
    from ntsim.nt.kernel import Kernel


LONGEST = 0xFFFE


def fold(data: bytes, insensitive: int) -> bytes:
    """8-bit characters ready to be compared."""
    return ansi_encode(upcase(ansi_decode(data))) if insensitive else data


@export(irql="<= DISPATCH", aliases=("RtlInitString",))
def RtlInitAnsiString(nt: Kernel, DestinationString: PSTRING, SourceString: PCSTR) -> None:
    """Describe a NUL-terminated string; NULL gives the empty one. Source: WDK RtlInitAnsiString."""
    length = min(len(narrow_bytes(nt.mmu, SourceString)), LONGEST) if SourceString else 0
    v = DestinationString._v
    v.Buffer, v.Length = int(SourceString), length
    v.MaximumLength = length + 1 if SourceString else 0


@export(irql="<= DISPATCH", aliases=("RtlInitStringEx",))
def RtlInitAnsiStringEx(nt: Kernel, DestinationString: PSTRING, SourceString: PCSTR) -> NTSTATUS:
    """As RtlInitAnsiString; STATUS_NAME_TOO_LONG instead of cutting. Source: WDK."""
    if SourceString and len(narrow_bytes(nt.mmu, SourceString)) > LONGEST:
        return ntstatus.STATUS_NAME_TOO_LONG
    RtlInitAnsiString(nt, DestinationString, SourceString)
    return ntstatus.STATUS_SUCCESS


@export(irql="any", inline=True)
def RtlInitEmptyAnsiString(
    nt: Kernel, AnsiString: PSTRING, Buffer: PVOID, BufferSize: USHORT
) -> None:
    """An empty string with a buffer of BufferSize bytes. Source: WDK RtlInitEmptyAnsiString."""
    v = AnsiString._v
    v.Length, v.MaximumLength, v.Buffer = 0, BufferSize, int(Buffer)


@export(irql="any")
def RtlCopyString(nt: Kernel, DestinationString: PSTRING, SourceString: PSTRING) -> None:
    """Copy as much as fits, without a terminator; NULL empties. Source: WDK RtlCopyString."""
    v = DestinationString._v
    length = min(SourceString._v.Length, v.MaximumLength) if SourceString else 0
    if length:
        rtl_copy(nt.mmu, v.Buffer, SourceString._v.Buffer, length)
    v.Length = length


@export(irql="<= APC")
def RtlAppendStringToString(nt: Kernel, Destination: PSTRING, Source: PSTRING) -> NTSTATUS:
    """Append; STATUS_BUFFER_TOO_SMALL if it does not fit. Source: WDK RtlAppendStringToString."""
    v, length = Destination._v, Source._v.Length
    if length and v.Length + length > v.MaximumLength:
        return ntstatus.STATUS_BUFFER_TOO_SMALL
    rtl_copy(nt.mmu, v.Buffer + v.Length, Source._v.Buffer, length)
    v.Length += length
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def RtlUpperChar(nt: Kernel, Character: CHAR) -> CHAR:
    """An ASCII letter in upper case; other bytes stay. Source: WDK; Wine ntdll tests rtlstr.c."""
    upper = bytes([Character & 0xFF]).upper()[0]
    return upper - 0x100 if upper > 0x7F else upper


@export(irql="<= APC")
def RtlUpperString(nt: Kernel, DestinationString: PSTRING, SourceString: PSTRING) -> None:
    """Copy in upper case as much as there is room for. Source: WDK RtlUpperString."""
    v = DestinationString._v
    data = rtl_string_bytes(nt, SourceString)[: v.MaximumLength].upper()
    nt.mmu.write(v.Buffer, data)
    v.Length = len(data)


@export(irql="== PASSIVE")
def RtlCompareString(
    nt: Kernel, String1: PSTRING, String2: PSTRING, CaseInSensitive: BOOLEAN
) -> LONG:
    """Below, above or equal to zero. Source: WDK RtlCompareString."""
    one = fold(rtl_string_bytes(nt, String1), CaseInSensitive)
    two = fold(rtl_string_bytes(nt, String2), CaseInSensitive)
    for a, b in zip(one, two, strict=False):
        if a != b:
            return a - b
    return len(one) - len(two)


@export(irql="== PASSIVE")
def RtlEqualString(
    nt: Kernel, String1: PSTRING, String2: PSTRING, CaseInSensitive: BOOLEAN
) -> BOOLEAN:
    """TRUE if the strings are equal. Source: WDK RtlEqualString."""
    if String1._v.Length != String2._v.Length:
        return False
    return RtlCompareString(nt, String1, String2, CaseInSensitive) == 0


@export(irql="== PASSIVE")
def RtlPrefixString(
    nt: Kernel, String1: PSTRING, String2: PSTRING, CaseInSensitive: BOOLEAN
) -> BOOLEAN:
    """TRUE if String2 begins with String1. Source: WDK RtlPrefixString."""
    one = fold(rtl_string_bytes(nt, String1), CaseInSensitive)
    two = fold(rtl_string_bytes(nt, String2), CaseInSensitive)
    return two.startswith(one)
