"""UNICODE_STRING: initialise, copy, append, compare.

Lengths count bytes. Source: WDK "Using Unicode Strings" and the pages of the routines; Windows
Internals 7, part 1, chapter 2.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.scalars import (
    BOOLEAN,
    LONG,
    NTSTATUS,
    PCWSTR,
    PVOID,
    SIZE_T,
    ULONG,
    USHORT,
)
from ntsim.nt.exports import Out, export
from ntsim.nt.rtl.codepage import wide_decode, wide_encode
from ntsim.nt.rtl.cstring import wide_bytes
from ntsim.nt.rtl.memory import rtl_copy
from ntsim.nt.rtl.upcase import upcase

if TYPE_CHECKING:
    from ntsim.abi.rtl import PUNICODE_STRING
    from ntsim.nt.kernel import Kernel


LONGEST = 0xFFFC
"""The most bytes a string can have with room for its terminator."""

HASH_DEFAULT, HASH_X65599 = 0, 1


def rtl_string_bytes(nt: Kernel, string: Any) -> bytes:
    """The characters of a counted string, 8 or 16 bits wide."""
    v = string._v
    length = v.Length
    return nt.mmu.read(v.Buffer, length) if length else b""


def rtl_text(nt: Kernel, string: PUNICODE_STRING) -> str:
    """The text of a UNICODE_STRING."""
    return wide_decode(rtl_string_bytes(nt, string))


def fold(data: bytes, insensitive: int) -> bytes:
    """UTF-16 bytes ready to be compared."""
    return wide_encode(upcase(wide_decode(data))) if insensitive else data


def compare(one: bytes, two: bytes, insensitive: int) -> int:
    """Difference of the first unequal characters, else of the lengths in characters."""
    if one == two:
        return 0
    left = array("H", fold(one[: len(one) & ~1], insensitive))
    right = array("H", fold(two[: len(two) & ~1], insensitive))
    for a, b in zip(left, right, strict=False):
        if a != b:
            return a - b
    return len(left) - len(right)


def terminate(nt: Kernel, string: PUNICODE_STRING) -> None:
    """A zero behind the text where there is room for it."""
    v = string._v
    if v.Length + 2 <= v.MaximumLength:
        nt.mmu.write(v.Buffer + v.Length, b"\0\0")


def append(nt: Kernel, destination: PUNICODE_STRING, source: int, length: int) -> int:
    """Add `length` bytes at `source`; STATUS_BUFFER_TOO_SMALL and nothing done if too long."""
    v = destination._v
    old = v.Length
    if old + length > v.MaximumLength:
        return ntstatus.STATUS_BUFFER_TOO_SMALL
    rtl_copy(nt.mmu, v.Buffer + old, source, length)
    v.Length = old + length
    terminate(nt, destination)
    return ntstatus.STATUS_SUCCESS


@export(irql="<= DISPATCH")
def RtlInitUnicodeString(
    nt: Kernel, DestinationString: PUNICODE_STRING, SourceString: PCWSTR
) -> None:
    """Describe a NUL-terminated string; NULL gives the empty one. Longer than 0xFFFC bytes is cut.

    Nothing is copied. Source: WDK RtlInitUnicodeString.
    """
    length = min(len(wide_bytes(nt.mmu, SourceString)), LONGEST) if SourceString else 0
    v = DestinationString._v
    v.Buffer, v.Length = int(SourceString), length
    v.MaximumLength = length + 2 if SourceString else 0


@export(irql="<= DISPATCH")
def RtlInitUnicodeStringEx(
    nt: Kernel, DestinationString: PUNICODE_STRING, SourceString: PCWSTR
) -> NTSTATUS:
    """As RtlInitUnicodeString; STATUS_NAME_TOO_LONG instead of cutting. Source: WDK."""
    if SourceString and len(wide_bytes(nt.mmu, SourceString)) > LONGEST:
        return ntstatus.STATUS_NAME_TOO_LONG
    RtlInitUnicodeString(nt, DestinationString, SourceString)
    return ntstatus.STATUS_SUCCESS


@export(irql="any", inline=True)
def RtlInitEmptyUnicodeString(
    nt: Kernel, UnicodeString: PUNICODE_STRING, Buffer: PVOID, BufferSize: USHORT
) -> None:
    """An empty string with a buffer of BufferSize bytes. Source: WDK RtlInitEmptyUnicodeString."""
    v = UnicodeString._v
    v.Length, v.MaximumLength, v.Buffer = 0, BufferSize, int(Buffer)


@export(irql="any")
def RtlCopyUnicodeString(
    nt: Kernel, DestinationString: PUNICODE_STRING, SourceString: PUNICODE_STRING
) -> None:
    """Copy as much as fits; a NULL source empties the destination. Source: WDK."""
    v = DestinationString._v
    if not SourceString:
        v.Length = 0
        return
    length = min(SourceString._v.Length, v.MaximumLength)
    rtl_copy(nt.mmu, v.Buffer, SourceString._v.Buffer, length)
    v.Length = length
    terminate(nt, DestinationString)


@export(irql="any, as far as the buffers are resident")
def RtlAppendUnicodeStringToString(
    nt: Kernel, Destination: PUNICODE_STRING, Source: PUNICODE_STRING
) -> NTSTATUS:
    """Append; STATUS_BUFFER_TOO_SMALL if it does not fit. Source: WDK."""
    return append(nt, Destination, Source._v.Buffer, Source._v.Length)


@export(irql="any, as far as the buffers are resident")
def RtlAppendUnicodeToString(nt: Kernel, Destination: PUNICODE_STRING, Source: PCWSTR) -> NTSTATUS:
    """Append a NUL-terminated string, NULL being the empty one. Source: WDK."""
    if not Source:
        return ntstatus.STATUS_SUCCESS
    return append(nt, Destination, int(Source), len(wide_bytes(nt.mmu, Source)))


@export(irql="== PASSIVE")
def RtlCompareUnicodeString(
    nt: Kernel, String1: PUNICODE_STRING, String2: PUNICODE_STRING, CaseInSensitive: BOOLEAN
) -> LONG:
    """Below, above or equal to zero. Source: WDK RtlCompareUnicodeString."""
    one, two = rtl_string_bytes(nt, String1), rtl_string_bytes(nt, String2)
    return compare(one, two, CaseInSensitive)


@export(irql="== PASSIVE")
def RtlCompareUnicodeStrings(
    nt: Kernel,
    String1: PCWSTR,
    String1Length: SIZE_T,
    String2: PCWSTR,
    String2Length: SIZE_T,
    CaseInSensitive: BOOLEAN,
) -> LONG:
    """As RtlCompareUnicodeString, of two buffers; lengths in characters. Source: WDK."""
    one = nt.mmu.read(int(String1), String1Length * 2)
    return compare(one, nt.mmu.read(int(String2), String2Length * 2), CaseInSensitive)


@export(irql="== PASSIVE")
def RtlEqualUnicodeString(
    nt: Kernel, String1: PUNICODE_STRING, String2: PUNICODE_STRING, CaseInSensitive: BOOLEAN
) -> BOOLEAN:
    """TRUE if they are equal; the buffers are not read if the lengths differ. Source: WDK."""
    if String1._v.Length != String2._v.Length:
        return False
    one, two = rtl_string_bytes(nt, String1), rtl_string_bytes(nt, String2)
    return fold(one, CaseInSensitive) == fold(two, CaseInSensitive)


@export(irql="== PASSIVE")
def RtlPrefixUnicodeString(
    nt: Kernel, String1: PUNICODE_STRING, String2: PUNICODE_STRING, CaseInSensitive: BOOLEAN
) -> BOOLEAN:
    """TRUE if String2 begins with String1. Source: WDK RtlPrefixUnicodeString."""
    one, two = rtl_string_bytes(nt, String1), rtl_string_bytes(nt, String2)
    start = two[: len(one)]
    return len(start) == len(one) and fold(one, CaseInSensitive) == fold(start, CaseInSensitive)


@export(irql="== PASSIVE")
def RtlHashUnicodeString(
    nt: Kernel,
    String: PUNICODE_STRING,
    CaseInSensitive: BOOLEAN,
    HashAlgorithm: ULONG,
    HashValue: Out[ULONG],
) -> NTSTATUS:
    """The x65599 hash. Source: WDK RtlHashUnicodeString."""
    if not String or HashAlgorithm not in (HASH_DEFAULT, HASH_X65599):
        return ntstatus.STATUS_INVALID_PARAMETER
    value = 0
    for unit in array("H", fold(rtl_string_bytes(nt, String), CaseInSensitive)):
        value = (value * 65599 + unit) & 0xFFFF_FFFF
    HashValue[0] = value
    return ntstatus.STATUS_SUCCESS
