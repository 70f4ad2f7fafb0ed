"""Safe strings on UNICODE_STRING: RtlUnicodeStringCopy, RtlUnicodeStringCat and neighbours.

As much as fits is stored, without a terminator, with the warning STATUS_BUFFER_OVERFLOW if that is
not everything. They are inline functions of ntstrsafe.h. Source: WDK RtlUnicodeStringCopy etc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import NTSTATUS, PCWSTR
from ntsim.nt.exports import export
from ntsim.nt.rtl.cstring import wide_bytes
from ntsim.nt.rtl.unicode import LONGEST, RtlInitUnicodeString, rtl_string_bytes

if TYPE_CHECKING:
    from ntsim.abi.rtl import PUNICODE_STRING
    from ntsim.nt.kernel import Kernel


def is_valid(string: PUNICODE_STRING) -> bool:
    """Even lengths, Length within MaximumLength, a buffer if there is room."""
    v = string._v
    even = not (v.Length | v.MaximumLength) & 1
    return bool(even and v.Length <= v.MaximumLength and (v.Buffer or not v.MaximumLength))


def put(nt: Kernel, string: PUNICODE_STRING, start: int, data: bytes) -> int:
    """Store `data` from byte `start` of the buffer on."""
    if not is_valid(string):
        return ntstatus.STATUS_INVALID_PARAMETER
    v = string._v
    kept = data[: v.MaximumLength - start]
    if kept:
        nt.mmu.write(v.Buffer + start, kept)
    v.Length = start + len(kept)
    return ntstatus.STATUS_SUCCESS if len(kept) == len(data) else ntstatus.STATUS_BUFFER_OVERFLOW


@export(irql="== PASSIVE", inline=True)
def RtlUnicodeStringValidate(nt: Kernel, SourceString: PUNICODE_STRING) -> NTSTATUS:
    """STATUS_INVALID_PARAMETER for lengths that cannot be. Source: WDK RtlUnicodeStringValidate."""
    ok = is_valid(SourceString)
    return ntstatus.STATUS_SUCCESS if ok else ntstatus.STATUS_INVALID_PARAMETER


@export(irql="== PASSIVE", inline=True)
def RtlUnicodeStringInit(
    nt: Kernel, DestinationString: PUNICODE_STRING, pszSrc: PCWSTR
) -> NTSTATUS:
    """RtlInitUnicodeString; STATUS_INVALID_PARAMETER if too long. Source: WDK."""
    if pszSrc and len(wide_bytes(nt.mmu, pszSrc, LONGEST // 2 + 1)) > LONGEST:
        return ntstatus.STATUS_INVALID_PARAMETER
    RtlInitUnicodeString(nt, DestinationString, pszSrc)
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE", inline=True)
def RtlUnicodeStringCopy(
    nt: Kernel, DestinationString: PUNICODE_STRING, SourceString: PUNICODE_STRING
) -> NTSTATUS:
    """Copy a counted string. Source: WDK RtlUnicodeStringCopy."""
    return put(nt, DestinationString, 0, rtl_string_bytes(nt, SourceString))


@export(irql="== PASSIVE", inline=True)
def RtlUnicodeStringCopyString(
    nt: Kernel, DestinationString: PUNICODE_STRING, pszSrc: PCWSTR
) -> NTSTATUS:
    """Copy a NUL-terminated string. Source: WDK RtlUnicodeStringCopyString."""
    return put(nt, DestinationString, 0, wide_bytes(nt.mmu, pszSrc))


@export(irql="== PASSIVE", inline=True)
def RtlUnicodeStringCat(
    nt: Kernel, DestinationString: PUNICODE_STRING, SourceString: PUNICODE_STRING
) -> NTSTATUS:
    """Append a counted string. Source: WDK RtlUnicodeStringCat."""
    start = DestinationString._v.Length
    return put(nt, DestinationString, start, rtl_string_bytes(nt, SourceString))


@export(irql="== PASSIVE", inline=True)
def RtlUnicodeStringCatString(
    nt: Kernel, DestinationString: PUNICODE_STRING, pszSrc: PCWSTR
) -> NTSTATUS:
    """Append a NUL-terminated string. Source: WDK RtlUnicodeStringCatString."""
    return put(nt, DestinationString, DestinationString._v.Length, wide_bytes(nt.mmu, pszSrc))
