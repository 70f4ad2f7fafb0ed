"""Safe formatted output: RtlStringCbPrintfW and its kind, RtlUnicodeStringPrintf.

As with the other safe strings the result is always terminated, and cut with STATUS_BUFFER_OVERFLOW.
Source: WDK RtlStringCbPrintfW and its neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.scalars import NTSTATUS, PSTR, PWSTR, SIZE_T
from ntsim.nt.exports import export
from ntsim.nt.rtl.codepage import ansi_encode, wide_encode
from ntsim.nt.rtl.crt_printf import rtl_format
from ntsim.nt.rtl.ntstrsafe import store

if TYPE_CHECKING:
    from ntsim.abi.rtl import PUNICODE_STRING
    from ntsim.nt.kernel import Kernel


def narrow(nt: Kernel, name: str, to: int, room: int, template: Any, arguments: Any) -> int:
    """Format 8-bit characters into `room` of them."""
    return store(nt, to, room, ansi_encode(rtl_format(nt, name, template, arguments)), 1)


def wide(nt: Kernel, name: str, to: int, room: int, template: Any, arguments: Any) -> int:
    """Format wide characters into `room` of them."""
    return store(nt, to, room, wide_encode(rtl_format(nt, name, template, arguments, True)), 2)


@export(irql="== PASSIVE", inline=True)
def RtlStringCbPrintfA(
    nt: Kernel, pszDest: PSTR, cbDest: SIZE_T, pszFormat: Any, *Arguments: Any
) -> NTSTATUS:
    """Format. Source: WDK RtlStringCbPrintfA."""
    return narrow(nt, "RtlStringCbPrintfA", pszDest, cbDest, pszFormat, Arguments)


@export(irql="== PASSIVE", inline=True)
def RtlStringCbPrintfW(
    nt: Kernel, pszDest: PWSTR, cbDest: SIZE_T, pszFormat: Any, *Arguments: Any
) -> NTSTATUS:
    """Format. Source: WDK RtlStringCbPrintfW."""
    return wide(nt, "RtlStringCbPrintfW", pszDest, cbDest // 2, pszFormat, Arguments)


@export(irql="== PASSIVE", inline=True)
def RtlStringCchPrintfA(
    nt: Kernel, pszDest: PSTR, cchDest: SIZE_T, pszFormat: Any, *Arguments: Any
) -> NTSTATUS:
    """Format. Source: WDK RtlStringCchPrintfA."""
    return narrow(nt, "RtlStringCchPrintfA", pszDest, cchDest, pszFormat, Arguments)


@export(irql="== PASSIVE", inline=True)
def RtlStringCchPrintfW(
    nt: Kernel, pszDest: PWSTR, cchDest: SIZE_T, pszFormat: Any, *Arguments: Any
) -> NTSTATUS:
    """Format. Source: WDK RtlStringCchPrintfW."""
    return wide(nt, "RtlStringCchPrintfW", pszDest, cchDest, pszFormat, Arguments)


@export(irql="== PASSIVE", inline=True)
def RtlStringCbVPrintfA(
    nt: Kernel, pszDest: PSTR, cbDest: SIZE_T, pszFormat: Any, argList: Any
) -> NTSTATUS:
    """Format, with a va_list. Source: WDK RtlStringCbVPrintfA."""
    return narrow(nt, "RtlStringCbVPrintfA", pszDest, cbDest, pszFormat, argList)


@export(irql="== PASSIVE", inline=True)
def RtlStringCbVPrintfW(
    nt: Kernel, pszDest: PWSTR, cbDest: SIZE_T, pszFormat: Any, argList: Any
) -> NTSTATUS:
    """Format, with a va_list. Source: WDK RtlStringCbVPrintfW."""
    return wide(nt, "RtlStringCbVPrintfW", pszDest, cbDest // 2, pszFormat, argList)


@export(irql="== PASSIVE", inline=True)
def RtlStringCchVPrintfA(
    nt: Kernel, pszDest: PSTR, cchDest: SIZE_T, pszFormat: Any, argList: Any
) -> NTSTATUS:
    """Format, with a va_list. Source: WDK RtlStringCchVPrintfA."""
    return narrow(nt, "RtlStringCchVPrintfA", pszDest, cchDest, pszFormat, argList)


@export(irql="== PASSIVE", inline=True)
def RtlStringCchVPrintfW(
    nt: Kernel, pszDest: PWSTR, cchDest: SIZE_T, pszFormat: Any, argList: Any
) -> NTSTATUS:
    """Format, with a va_list. Source: WDK RtlStringCchVPrintfW."""
    return wide(nt, "RtlStringCchVPrintfW", pszDest, cchDest, pszFormat, argList)


@export(irql="== PASSIVE", inline=True)
def RtlUnicodeStringPrintf(
    nt: Kernel, DestinationString: PUNICODE_STRING, pszFormat: Any, *Arguments: Any
) -> NTSTATUS:
    """Format into a counted string, without a terminator. Source: WDK RtlUnicodeStringPrintf."""
    text = rtl_format(nt, "RtlUnicodeStringPrintf", pszFormat, Arguments, True)
    data = wide_encode(text)
    v = DestinationString._v
    kept = data[: v.MaximumLength & ~1]
    if kept:
        nt.mmu.write(v.Buffer, kept)
    v.Length = len(kept)
    return ntstatus.STATUS_SUCCESS if len(kept) == len(data) else ntstatus.STATUS_BUFFER_OVERFLOW
