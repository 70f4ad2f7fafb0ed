"""Counted strings of one kind from another: ANSI, Unicode, upper and lower case; their freeing.

A routine that allocates takes paged pool with tag "Strg", which RtlFreeXxxString gives back.
Source: WDK RtlUnicodeStringToAnsiString and its neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.scalars import BOOLEAN, NTSTATUS, PCWSTR, PVOID, ULONG, WCHAR
from ntsim.nt.ex.allocate import ExFreePoolWithTag, ex_allocate
from ntsim.nt.exports import export
from ntsim.nt.rtl.codepage import ansi_decode, ansi_encode, wide_encode
from ntsim.nt.rtl.cstring import wide_bytes
from ntsim.nt.rtl.unicode import rtl_string_bytes, rtl_text
from ntsim.nt.rtl.upcase import downcase, upcase

if TYPE_CHECKING:
    from ntsim.abi.rtl import PSTRING, PUNICODE_STRING
    from ntsim.nt.kernel import Kernel


TAG = "Strg"
LONGEST = 0xFFFF


def rtlp_allocate(nt: Kernel, size: int) -> int:
    """Paged pool for a string, 0 if memory is short."""
    return ex_allocate(nt, size, TAG, True, False, False, False)


def prepare(nt: Kernel, destination: Any, room: int, allocate: int) -> int:
    """Give the destination a buffer of `room` bytes, or see whether its own has them."""
    v = destination._v
    if not allocate:
        fits = room <= v.MaximumLength
        return ntstatus.STATUS_SUCCESS if fits else ntstatus.STATUS_BUFFER_OVERFLOW
    buffer = rtlp_allocate(nt, room)
    if not buffer:
        return ntstatus.STATUS_NO_MEMORY
    v.Buffer, v.MaximumLength = buffer, room
    return ntstatus.STATUS_SUCCESS


def change_case(nt: Kernel, destination: PUNICODE_STRING, text: str, allocate: int) -> int:
    """Store a text of unchanged length, without a terminator."""
    data = wide_encode(text)
    status = prepare(nt, destination, len(data), allocate)
    if status == ntstatus.STATUS_SUCCESS:
        nt.mmu.write(destination._v.Buffer, data)
        destination._v.Length = len(data)
    return status


def free_string(nt: Kernel, string: Any) -> None:
    v = string._v
    if v.Buffer:
        ExFreePoolWithTag(nt, v.Buffer, 0)
        v.Length = v.MaximumLength = v.Buffer = 0


@export(irql="== PASSIVE")
def RtlUnicodeStringToAnsiString(
    nt: Kernel,
    DestinationString: PSTRING,
    SourceString: PUNICODE_STRING,
    AllocateDestinationString: BOOLEAN,
) -> NTSTATUS:
    """Convert and terminate. What does not fit is cut, with the warning STATUS_BUFFER_OVERFLOW.

    Source: WDK RtlUnicodeStringToAnsiString.
    """
    data = ansi_encode(rtl_text(nt, SourceString))
    if len(data) + 1 > LONGEST:
        return ntstatus.STATUS_INVALID_PARAMETER_2
    status = prepare(nt, DestinationString, len(data) + 1, AllocateDestinationString)
    v = DestinationString._v
    if status == ntstatus.STATUS_NO_MEMORY:
        return status
    if not v.MaximumLength:
        v.Length = len(data)
        return status
    data = data[: v.MaximumLength - 1]
    v.Length = len(data)
    nt.mmu.write(v.Buffer, data + b"\0")
    return status


@export(irql="== PASSIVE")
def RtlAnsiStringToUnicodeString(
    nt: Kernel,
    DestinationString: PUNICODE_STRING,
    SourceString: PSTRING,
    AllocateDestinationString: BOOLEAN,
) -> NTSTATUS:
    """Convert and terminate; STATUS_BUFFER_OVERFLOW, and nothing stored, if it does not fit.

    Source: WDK RtlAnsiStringToUnicodeString.
    """
    data = wide_encode(ansi_decode(rtl_string_bytes(nt, SourceString)))
    if len(data) + 2 > LONGEST:
        return ntstatus.STATUS_INVALID_PARAMETER_2
    status = prepare(nt, DestinationString, len(data) + 2, AllocateDestinationString)
    if status == ntstatus.STATUS_SUCCESS:
        nt.mmu.write(DestinationString._v.Buffer, data + b"\0\0")
        DestinationString._v.Length = len(data)
    return status


@export(irql="== PASSIVE", aliases=("RtlUnicodeStringToAnsiSize",))
def RtlxUnicodeStringToAnsiSize(nt: Kernel, UnicodeString: PUNICODE_STRING) -> ULONG:
    """Bytes of the converted string with its terminator. Source: WDK RtlUnicodeStringToAnsiSize."""
    return len(ansi_encode(rtl_text(nt, UnicodeString))) + 1


@export(irql="== PASSIVE", aliases=("RtlAnsiStringToUnicodeSize",))
def RtlxAnsiStringToUnicodeSize(nt: Kernel, AnsiString: PSTRING) -> ULONG:
    """Bytes of the converted string with its terminator. Source: WDK RtlAnsiStringToUnicodeSize."""
    return AnsiString._v.Length * 2 + 2  # type: ignore[no-any-return]


@export(irql="== PASSIVE")
def RtlUpcaseUnicodeString(
    nt: Kernel,
    DestinationString: PUNICODE_STRING,
    SourceString: PUNICODE_STRING,
    AllocateDestinationString: BOOLEAN,
) -> NTSTATUS:
    """A copy in capitals. Source: WDK RtlUpcaseUnicodeString."""
    text = upcase(rtl_text(nt, SourceString))
    return change_case(nt, DestinationString, text, AllocateDestinationString)


@export(irql="== PASSIVE")
def RtlDowncaseUnicodeString(
    nt: Kernel,
    DestinationString: PUNICODE_STRING,
    SourceString: PUNICODE_STRING,
    AllocateDestinationString: BOOLEAN,
) -> NTSTATUS:
    """A copy in small letters. Source: WDK RtlDowncaseUnicodeString."""
    text = downcase(rtl_text(nt, SourceString))
    return change_case(nt, DestinationString, text, AllocateDestinationString)


@export(irql="== PASSIVE")
def RtlFreeUnicodeString(nt: Kernel, UnicodeString: PUNICODE_STRING) -> None:
    """Free the buffer that a routine allocated. Source: WDK RtlFreeUnicodeString."""
    free_string(nt, UnicodeString)


@export(irql="<= APC")
def RtlCreateUnicodeString(
    nt: Kernel, DestinationString: PUNICODE_STRING, SourceString: PCWSTR
) -> BOOLEAN:
    """A copy of a NUL-terminated string in paged pool, which RtlFreeUnicodeString frees; FALSE
    without memory, or for one longer than a UNICODE_STRING takes.

    Source: ntifs.h; WDK RtlCreateUnicodeString; Wine ntdll tests rtlstr.c.
    """
    data = wide_bytes(nt.mmu, int(SourceString)) + b"\0\0"
    if len(data) > 0xFFFE:
        return False
    buffer = rtlp_allocate(nt, len(data))
    if not buffer:
        return False
    nt.mmu.write(buffer, data)
    v = DestinationString._v
    v.Length, v.MaximumLength, v.Buffer = len(data) - 2, len(data), buffer
    return True


@export(irql="== PASSIVE")
def RtlAnsiCharToUnicodeChar(nt: Kernel, SourceCharacter: PVOID) -> WCHAR:
    """The wide character at *SourceCharacter, a pointer that moves on behind it. Undocumented.

    Source: ReactOS sdk/lib/rtl/unicode.c.
    """
    place = nt.mmu.read_word(int(SourceCharacter))
    byte = nt.mmu.read(place, 1)
    nt.mmu.write_word(int(SourceCharacter), place + 1)
    return ord(ansi_decode(byte))


@export(irql="== PASSIVE")
def RtlFreeAnsiString(nt: Kernel, AnsiString: PSTRING) -> None:
    """Free the buffer that a routine allocated. Source: WDK RtlFreeAnsiString."""
    free_string(nt, AnsiString)
