"""Numbers in text and back. Source: WDK RtlIntegerToUnicodeString, RtlUnicodeStringToInteger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import LONGLONG, NTSTATUS, PCSTR, ULONG, ULONGLONG, USHORT
from ntsim.nt.exports import Out, OutOpt, export
from ntsim.nt.rtl.codepage import ansi_decode, wide_encode
from ntsim.nt.rtl.cstring import narrow_bytes
from ntsim.nt.rtl.unicode import rtl_text

if TYPE_CHECKING:
    from ntsim.abi.rtl import PUNICODE_STRING
    from ntsim.nt.kernel import Kernel


BASES = (2, 8, 10, 16)
PREFIXES = {"0x": 16, "0o": 8, "0b": 2}
DIGITS = "0123456789ABCDEF"


def digits(value: int, base: int) -> str:
    """A number that is not negative in one of the four bases, capital letters."""
    return format(value, {2: "b", 8: "o", 10: "d", 16: "X"}[base])


def parse(text: str, base: int) -> tuple[int, int] | None:
    """(value, characters used) of the number at the start; None for a base that is none.

    White space and a sign may precede it; base 0 goes by the prefix. What is no digit ends it.
    """
    if base not in (0, *BASES):
        return None
    at = len(text) - len(text.lstrip("".join(map(chr, range(33)))))
    negative = text[at : at + 1] == "-"
    at += text[at : at + 1] in ("-", "+") and at < len(text)
    if base == 0:
        base = PREFIXES.get(text[at : at + 2], 10)
        at += 2 if text[at : at + 2] in PREFIXES else 0
    value = 0
    for character in text[at:]:
        digit = DIGITS.find(character.upper())
        if not 0 <= digit < base:
            break
        value = value * base + digit
        at += 1
    return (-value if negative else value), at


def store(nt: Kernel, string: PUNICODE_STRING, text: str) -> int:
    """Text with a terminator into a string's buffer."""
    v = string._v
    data = wide_encode(text)
    if len(data) + 2 > v.MaximumLength:
        return ntstatus.STATUS_BUFFER_OVERFLOW
    nt.mmu.write(v.Buffer, data + b"\0\0")
    v.Length = len(data)
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def RtlIntegerToUnicodeString(
    nt: Kernel, Value: ULONG, Base: ULONG, String: PUNICODE_STRING
) -> NTSTATUS:
    """Digits of Value in base 2, 8, 10 (also 0) or 16. Source: WDK RtlIntegerToUnicodeString."""
    base = Base or 10
    if base not in BASES:
        return ntstatus.STATUS_INVALID_PARAMETER
    return store(nt, String, digits(Value & 0xFFFF_FFFF, base))


@export(irql="== PASSIVE")
def RtlInt64ToUnicodeString(
    nt: Kernel, Value: ULONGLONG, Base: ULONG, String: PUNICODE_STRING
) -> NTSTATUS:
    """As RtlIntegerToUnicodeString, 64 bits. Source: WDK RtlInt64ToUnicodeString."""
    base = Base or 10
    if base not in BASES:
        return ntstatus.STATUS_INVALID_PARAMETER
    return store(nt, String, digits(Value & 0xFFFF_FFFF_FFFF_FFFF, base))


@export(irql="== PASSIVE")
def RtlUnicodeStringToInteger(
    nt: Kernel, String: PUNICODE_STRING, Base: ULONG, Value: Out[ULONG]
) -> NTSTATUS:
    """The number at the start of a string, 0 if there is none; an empty string is refused.

    Source: WDK RtlUnicodeStringToInteger.
    """
    text = rtl_text(nt, String)
    found = parse(text, Base)
    if found is None or not text:
        return ntstatus.STATUS_INVALID_PARAMETER
    Value[0] = found[0] & 0xFFFF_FFFF
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def RtlUnicodeStringToInt64(
    nt: Kernel,
    String: PUNICODE_STRING,
    Base: ULONG,
    Number: Out[LONGLONG],
    EndPointer: OutOpt[ULONGLONG],
) -> NTSTATUS:
    """As RtlUnicodeStringToInteger, 64 bits; EndPointer is where the number ends. Source: WDK."""
    found = parse(rtl_text(nt, String), Base)
    if found is None:
        return ntstatus.STATUS_INVALID_PARAMETER
    Number[0] = found[0]
    if EndPointer:
        EndPointer[0] = String._v.Buffer + found[1] * 2
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def RtlCharToInteger(nt: Kernel, String: PCSTR, Base: ULONG, Value: Out[ULONG]) -> NTSTATUS:
    """The number at the start of a NUL-terminated 8-bit string. Source: WDK RtlCharToInteger."""
    found = parse(ansi_decode(narrow_bytes(nt.mmu, String)), Base)
    if found is None:
        return ntstatus.STATUS_INVALID_PARAMETER
    Value[0] = found[0] & 0xFFFF_FFFF
    return ntstatus.STATUS_SUCCESS


def swapped(value: int, size: int) -> int:
    """The bytes of a number in the other order."""
    return int.from_bytes((value & ((1 << 8 * size) - 1)).to_bytes(size, "little"), "big")


@export(irql="any")
def RtlUshortByteSwap(nt: Kernel, Source: USHORT) -> USHORT:
    """Two bytes in the other order. Source: WDK RtlUshortByteSwap."""
    return swapped(Source, 2)


@export(irql="any")
def RtlUlongByteSwap(nt: Kernel, Source: ULONG) -> ULONG:
    """Four bytes in the other order. Source: WDK RtlUlongByteSwap."""
    return swapped(Source, 4)


@export(irql="any")
def RtlUlonglongByteSwap(nt: Kernel, Source: ULONGLONG) -> ULONGLONG:
    """Eight bytes in the other order. Source: WDK RtlUlonglongByteSwap."""
    return swapped(Source, 8)
