"""Text in buffers of known size from one encoding to another: ANSI code page, UTF-16, UTF-8.

What does not fit is left out at a character's boundary. Source: WDK RtlUnicodeToMultiByteN,
RtlUnicodeToUTF8N and their neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import NTSTATUS, PVOID, ULONG
from ntsim.nt.exports import Out, OutOpt, export
from ntsim.nt.rtl.codepage import ansi_decode, ansi_encode, wide_decode, wide_encode

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

REPLACEMENT = "\ufffd"


def bytes_at(nt: Kernel, address: int, length: int) -> bytes:
    return nt.mmu.read(int(address), length) if length else b""


def put(nt: Kernel, to: int, data: bytes) -> int:
    """Store text; its size."""
    if data:
        nt.mmu.write(int(to), data)
    return len(data)


def utf8_decode(data: bytes) -> tuple[str, bool]:
    """(text, whether it was well-formed); U+FFFD for what is not."""
    try:
        return data.decode("utf-8"), True
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace"), False


def utf8_encode(data: bytes) -> tuple[bytes, bool]:
    """(UTF-8, whether the UTF-16 was well-formed); U+FFFD for a lone surrogate."""
    try:
        return data.decode("utf-16-le").encode(), True
    except UnicodeDecodeError:
        kept = (c if not 0xD800 <= ord(c) < 0xE000 else REPLACEMENT for c in wide_decode(data))
        return "".join(kept).encode(), False


def cut_utf8(data: bytes, room: int) -> bytes:
    """At most `room` bytes, whole characters only."""
    end = min(room, len(data))
    while 0 < end < len(data) and data[end] & 0xC0 == 0x80:
        end -= 1
    return data[:end]


def outcome(complete: bool, well_formed: bool) -> int:
    if not complete:
        return ntstatus.STATUS_BUFFER_TOO_SMALL
    return ntstatus.STATUS_SUCCESS if well_formed else ntstatus.STATUS_SOME_NOT_MAPPED


@export(irql="== PASSIVE")
def RtlUnicodeToMultiByteN(
    nt: Kernel,
    MultiByteString: PVOID,
    MaxBytesInMultiByteString: ULONG,
    BytesInMultiByteString: OutOpt[ULONG],
    UnicodeString: PVOID,
    BytesInUnicodeString: ULONG,
) -> NTSTATUS:
    """UTF-16 into the ANSI code page, cut without a word. Source: WDK RtlUnicodeToMultiByteN."""
    text = wide_decode(bytes_at(nt, UnicodeString, BytesInUnicodeString))
    data = ansi_encode(text)[:MaxBytesInMultiByteString]
    size = put(nt, MultiByteString, data)
    if BytesInMultiByteString:
        BytesInMultiByteString[0] = size
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def RtlUnicodeToMultiByteSize(
    nt: Kernel,
    BytesInMultiByteString: Out[ULONG],
    UnicodeString: PVOID,
    BytesInUnicodeString: ULONG,
) -> NTSTATUS:
    """How many bytes the conversion takes. Source: WDK RtlUnicodeToMultiByteSize."""
    text = wide_decode(bytes_at(nt, UnicodeString, BytesInUnicodeString))
    BytesInMultiByteString[0] = len(ansi_encode(text))
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def RtlMultiByteToUnicodeN(
    nt: Kernel,
    UnicodeString: PVOID,
    MaxBytesInUnicodeString: ULONG,
    BytesInUnicodeString: OutOpt[ULONG],
    MultiByteString: PVOID,
    BytesInMultiByteString: ULONG,
) -> NTSTATUS:
    """The ANSI code page into UTF-16, cut without a word. Source: WDK RtlMultiByteToUnicodeN."""
    text = ansi_decode(bytes_at(nt, MultiByteString, BytesInMultiByteString))
    data = wide_encode(text)[: MaxBytesInUnicodeString & ~1]
    size = put(nt, UnicodeString, data)
    if BytesInUnicodeString:
        BytesInUnicodeString[0] = size
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def RtlMultiByteToUnicodeSize(
    nt: Kernel,
    BytesInUnicodeString: Out[ULONG],
    MultiByteString: PVOID,
    BytesInMultiByteString: ULONG,
) -> NTSTATUS:
    """How many bytes the conversion takes. Source: WDK RtlMultiByteToUnicodeSize."""
    BytesInUnicodeString[0] = BytesInMultiByteString * 2
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def RtlUnicodeToUTF8N(
    nt: Kernel,
    UTF8StringDestination: PVOID,
    UTF8StringMaxByteCount: ULONG,
    UTF8StringActualByteCount: Out[ULONG],
    UnicodeStringSource: PVOID,
    UnicodeStringByteCount: ULONG,
) -> NTSTATUS:
    """UTF-16 into UTF-8; without a destination, the size only.

    STATUS_BUFFER_TOO_SMALL if cut, the informational STATUS_SOME_NOT_MAPPED after a lone surrogate.
    Source: WDK RtlUnicodeToUTF8N.
    """
    data, well_formed = utf8_encode(bytes_at(nt, UnicodeStringSource, UnicodeStringByteCount))
    if not UTF8StringDestination:
        UTF8StringActualByteCount[0] = len(data)
        return outcome(True, well_formed)
    kept = cut_utf8(data, UTF8StringMaxByteCount)
    UTF8StringActualByteCount[0] = put(nt, UTF8StringDestination, kept)
    return outcome(len(kept) == len(data), well_formed)


@export(irql="== PASSIVE")
def RtlUTF8ToUnicodeN(
    nt: Kernel,
    UnicodeStringDestination: PVOID,
    UnicodeStringMaxByteCount: ULONG,
    UnicodeStringActualByteCount: Out[ULONG],
    UTF8StringSource: PVOID,
    UTF8StringByteCount: ULONG,
) -> NTSTATUS:
    """UTF-8 into UTF-16; without a destination, the size only. Statuses as RtlUnicodeToUTF8N.

    Source: WDK RtlUTF8ToUnicodeN.
    """
    text, well_formed = utf8_decode(bytes_at(nt, UTF8StringSource, UTF8StringByteCount))
    data = wide_encode(text)
    if not UnicodeStringDestination:
        UnicodeStringActualByteCount[0] = len(data)
        return outcome(True, well_formed)
    kept = data[: UnicodeStringMaxByteCount & ~1]
    UnicodeStringActualByteCount[0] = put(nt, UnicodeStringDestination, kept)
    return outcome(len(kept) == len(data), well_formed)
