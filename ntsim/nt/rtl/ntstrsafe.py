"""Safe strings: RtlStringCbXxx and RtlStringCchXxx, copying, appending, measuring.

Cb counts bytes, Cch characters; the destination's size includes the terminator, which is always
stored. What does not fit is cut, with the warning STATUS_BUFFER_OVERFLOW; a size of 0 or above
2**31 - 1 is STATUS_INVALID_PARAMETER. They are inline functions of ntstrsafe.h, documented for
PASSIVE_LEVEL. Source: WDK RtlStringCbCopyW and its neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import NTSTATUS, PCSTR, PCWSTR, PSTR, PWSTR, SIZE_T
from ntsim.nt.exports import OutOpt, export
from ntsim.nt.rtl.cstring import narrow_bytes, wide_bytes
from ntsim.nt.rtl.unicode import rtl_string_bytes

if TYPE_CHECKING:
    from ntsim.abi.rtl import PUNICODE_STRING
    from ntsim.nt.kernel import Kernel

MOST_CHARACTERS = 0x7FFF_FFFF


def read(nt: Kernel, string: int, width: int, limit: int | None = None) -> bytes:
    """The characters of a string, 1 or 2 bytes each."""
    return (wide_bytes if width == 2 else narrow_bytes)(nt.mmu, int(string), limit)


def store(nt: Kernel, to: int, room: int, data: bytes, width: int) -> int:
    """Store characters and a terminator into `room` characters."""
    if not 0 < room <= MOST_CHARACTERS:
        return ntstatus.STATUS_INVALID_PARAMETER
    kept = data[: (room - 1) * width]
    nt.mmu.write(int(to), kept + bytes(width))
    return ntstatus.STATUS_SUCCESS if len(kept) == len(data) else ntstatus.STATUS_BUFFER_OVERFLOW


def append(nt: Kernel, to: int, room: int, data: bytes, width: int) -> int:
    """Store characters behind the string that is there; it must be terminated within `room`."""
    if not 0 < room <= MOST_CHARACTERS:
        return ntstatus.STATUS_INVALID_PARAMETER
    length = len(read(nt, to, width, room)) // width
    if length == room:
        return ntstatus.STATUS_INVALID_PARAMETER
    return store(nt, int(to) + length * width, room - length, data, width)


def measure(
    nt: Kernel, string: int, room: int, width: int, unit: int, length: OutOpt[SIZE_T]
) -> int:
    """The length in units of `unit` bytes, STATUS_INVALID_PARAMETER if not terminated in `room`."""
    size = (
        len(read(nt, string, width, room)) if string and room <= MOST_CHARACTERS else room * width
    )
    fits = size < room * width
    if length:
        length[0] = size // unit if fits else 0
    return ntstatus.STATUS_SUCCESS if fits else ntstatus.STATUS_INVALID_PARAMETER


@export(irql="== PASSIVE", inline=True)
def RtlStringCbCopyA(nt: Kernel, pszDest: PSTR, cbDest: SIZE_T, pszSrc: PCSTR) -> NTSTATUS:
    """Copy. Source: WDK RtlStringCbCopyA."""
    return store(nt, pszDest, cbDest, read(nt, pszSrc, 1, cbDest), 1)


@export(irql="== PASSIVE", inline=True)
def RtlStringCbCopyW(nt: Kernel, pszDest: PWSTR, cbDest: SIZE_T, pszSrc: PCWSTR) -> NTSTATUS:
    """Copy. Source: WDK RtlStringCbCopyW."""
    return store(nt, pszDest, cbDest // 2, read(nt, pszSrc, 2, cbDest // 2), 2)


@export(irql="== PASSIVE", inline=True)
def RtlStringCchCopyA(nt: Kernel, pszDest: PSTR, cchDest: SIZE_T, pszSrc: PCSTR) -> NTSTATUS:
    """Copy. Source: WDK RtlStringCchCopyA."""
    return store(nt, pszDest, cchDest, read(nt, pszSrc, 1, cchDest), 1)


@export(irql="== PASSIVE", inline=True)
def RtlStringCchCopyW(nt: Kernel, pszDest: PWSTR, cchDest: SIZE_T, pszSrc: PCWSTR) -> NTSTATUS:
    """Copy. Source: WDK RtlStringCchCopyW."""
    return store(nt, pszDest, cchDest, read(nt, pszSrc, 2, cchDest), 2)


@export(irql="== PASSIVE", inline=True)
def RtlStringCbCopyNA(
    nt: Kernel, pszDest: PSTR, cbDest: SIZE_T, pszSrc: PCSTR, cbToCopy: SIZE_T
) -> NTSTATUS:
    """Copy at most cbToCopy bytes. Source: WDK RtlStringCbCopyNA."""
    return store(nt, pszDest, cbDest, read(nt, pszSrc, 1, min(cbToCopy, cbDest)), 1)


@export(irql="== PASSIVE", inline=True)
def RtlStringCbCopyNW(
    nt: Kernel, pszDest: PWSTR, cbDest: SIZE_T, pszSrc: PCWSTR, cbToCopy: SIZE_T
) -> NTSTATUS:
    """Copy at most cbToCopy bytes. Source: WDK RtlStringCbCopyNW."""
    return store(nt, pszDest, cbDest // 2, read(nt, pszSrc, 2, min(cbToCopy, cbDest) // 2), 2)


@export(irql="== PASSIVE", inline=True)
def RtlStringCchCopyNA(
    nt: Kernel, pszDest: PSTR, cchDest: SIZE_T, pszSrc: PCSTR, cchToCopy: SIZE_T
) -> NTSTATUS:
    """Copy at most cchToCopy characters. Source: WDK RtlStringCchCopyNA."""
    return store(nt, pszDest, cchDest, read(nt, pszSrc, 1, min(cchToCopy, cchDest)), 1)


@export(irql="== PASSIVE", inline=True)
def RtlStringCchCopyNW(
    nt: Kernel, pszDest: PWSTR, cchDest: SIZE_T, pszSrc: PCWSTR, cchToCopy: SIZE_T
) -> NTSTATUS:
    """Copy at most cchToCopy characters. Source: WDK RtlStringCchCopyNW."""
    return store(nt, pszDest, cchDest, read(nt, pszSrc, 2, min(cchToCopy, cchDest)), 2)


@export(irql="== PASSIVE", inline=True)
def RtlStringCbCopyUnicodeString(
    nt: Kernel, pszDest: PWSTR, cbDest: SIZE_T, SourceString: PUNICODE_STRING
) -> NTSTATUS:
    """Copy a counted string. Source: WDK RtlStringCbCopyUnicodeString."""
    return store(nt, pszDest, cbDest // 2, rtl_string_bytes(nt, SourceString), 2)


@export(irql="== PASSIVE", inline=True)
def RtlStringCchCopyUnicodeString(
    nt: Kernel, pszDest: PWSTR, cchDest: SIZE_T, SourceString: PUNICODE_STRING
) -> NTSTATUS:
    """Copy a counted string. Source: WDK RtlStringCchCopyUnicodeString."""
    return store(nt, pszDest, cchDest, rtl_string_bytes(nt, SourceString), 2)


@export(irql="== PASSIVE", inline=True)
def RtlStringCbCatA(nt: Kernel, pszDest: PSTR, cbDest: SIZE_T, pszSrc: PCSTR) -> NTSTATUS:
    """Append. Source: WDK RtlStringCbCatA."""
    return append(nt, pszDest, cbDest, read(nt, pszSrc, 1, cbDest), 1)


@export(irql="== PASSIVE", inline=True)
def RtlStringCbCatW(nt: Kernel, pszDest: PWSTR, cbDest: SIZE_T, pszSrc: PCWSTR) -> NTSTATUS:
    """Append. Source: WDK RtlStringCbCatW."""
    return append(nt, pszDest, cbDest // 2, read(nt, pszSrc, 2, cbDest // 2), 2)


@export(irql="== PASSIVE", inline=True)
def RtlStringCchCatA(nt: Kernel, pszDest: PSTR, cchDest: SIZE_T, pszSrc: PCSTR) -> NTSTATUS:
    """Append. Source: WDK RtlStringCchCatA."""
    return append(nt, pszDest, cchDest, read(nt, pszSrc, 1, cchDest), 1)


@export(irql="== PASSIVE", inline=True)
def RtlStringCchCatW(nt: Kernel, pszDest: PWSTR, cchDest: SIZE_T, pszSrc: PCWSTR) -> NTSTATUS:
    """Append. Source: WDK RtlStringCchCatW."""
    return append(nt, pszDest, cchDest, read(nt, pszSrc, 2, cchDest), 2)


@export(irql="== PASSIVE", inline=True)
def RtlStringCbCatNA(
    nt: Kernel, pszDest: PSTR, cbDest: SIZE_T, pszSrc: PCSTR, cbToAppend: SIZE_T
) -> NTSTATUS:
    """Append at most cbToAppend bytes. Source: WDK RtlStringCbCatNA."""
    return append(nt, pszDest, cbDest, read(nt, pszSrc, 1, min(cbToAppend, cbDest)), 1)


@export(irql="== PASSIVE", inline=True)
def RtlStringCbCatNW(
    nt: Kernel, pszDest: PWSTR, cbDest: SIZE_T, pszSrc: PCWSTR, cbToAppend: SIZE_T
) -> NTSTATUS:
    """Append at most cbToAppend bytes. Source: WDK RtlStringCbCatNW."""
    return append(nt, pszDest, cbDest // 2, read(nt, pszSrc, 2, min(cbToAppend, cbDest) // 2), 2)


@export(irql="== PASSIVE", inline=True)
def RtlStringCchCatNA(
    nt: Kernel, pszDest: PSTR, cchDest: SIZE_T, pszSrc: PCSTR, cchToAppend: SIZE_T
) -> NTSTATUS:
    """Append at most cchToAppend characters. Source: WDK RtlStringCchCatNA."""
    return append(nt, pszDest, cchDest, read(nt, pszSrc, 1, min(cchToAppend, cchDest)), 1)


@export(irql="== PASSIVE", inline=True)
def RtlStringCchCatNW(
    nt: Kernel, pszDest: PWSTR, cchDest: SIZE_T, pszSrc: PCWSTR, cchToAppend: SIZE_T
) -> NTSTATUS:
    """Append at most cchToAppend characters. Source: WDK RtlStringCchCatNW."""
    return append(nt, pszDest, cchDest, read(nt, pszSrc, 2, min(cchToAppend, cchDest)), 2)


@export(irql="== PASSIVE", inline=True)
def RtlStringCbLengthA(
    nt: Kernel, psz: PCSTR, cbMax: SIZE_T, pcbLength: OutOpt[SIZE_T]
) -> NTSTATUS:
    """Bytes before the terminator. Source: WDK RtlStringCbLengthA."""
    return measure(nt, psz, cbMax, 1, 1, pcbLength)


@export(irql="== PASSIVE", inline=True)
def RtlStringCbLengthW(
    nt: Kernel, psz: PCWSTR, cbMax: SIZE_T, pcbLength: OutOpt[SIZE_T]
) -> NTSTATUS:
    """Bytes before the terminator. Source: WDK RtlStringCbLengthW."""
    return measure(nt, psz, cbMax // 2, 2, 1, pcbLength)


@export(irql="== PASSIVE", inline=True)
def RtlStringCchLengthA(
    nt: Kernel, psz: PCSTR, cchMax: SIZE_T, pcchLength: OutOpt[SIZE_T]
) -> NTSTATUS:
    """Characters before the terminator. Source: WDK RtlStringCchLengthA."""
    return measure(nt, psz, cchMax, 1, 1, pcchLength)


@export(irql="== PASSIVE", inline=True)
def RtlStringCchLengthW(
    nt: Kernel, psz: PCWSTR, cchMax: SIZE_T, pcchLength: OutOpt[SIZE_T]
) -> NTSTATUS:
    """Characters before the terminator. Source: WDK RtlStringCchLengthW."""
    return measure(nt, psz, cchMax, 2, 2, pcchLength)
