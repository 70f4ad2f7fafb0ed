"""Security identifiers: S-1-authority-subauthority-...

Source: WDK RtlInitializeSid, RtlLengthSid, RtlConvertSidToUnicodeString; ReactOS lib/rtl/sid.c.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import BOOLEAN, NTSTATUS, PUCHAR, PULONG, PVOID, UCHAR, ULONG
from ntsim.abi.se import SID_MAX_SUB_AUTHORITIES, SID_REVISION
from ntsim.abi.types import REGISTRY, pointer_to
from ntsim.nt.exports import export
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.abi.rtl import PUNICODE_STRING
    from ntsim.nt.kernel import Kernel

HEADER = 8
"""Bytes before the sub-authorities."""


@dataclass(frozen=True, slots=True)
class Sid:
    """A SID's value: what its bytes say."""

    authority: int
    sub_authorities: tuple[int, ...]

    def __str__(self) -> str:
        authority = f"0x{self.authority:012x}" if self.authority >> 32 else str(self.authority)
        return "-".join(["S-1", authority, *map(str, self.sub_authorities)])

    def __bytes__(self) -> bytes:
        count = len(self.sub_authorities)
        head = bytes([SID_REVISION, count]) + self.authority.to_bytes(6, "big")
        return head + struct.pack(f"<{count}I", *self.sub_authorities)


def sid_length(nt: Kernel, sid: int) -> int:
    """Bytes of the SID at an address."""
    return HEADER + 4 * nt.mmu.read(sid + 1, 1)[0]


def read_sid(nt: Kernel, sid: int) -> Sid:
    """The SID at an address."""
    data = nt.mmu.read(sid, sid_length(nt, sid))
    values = struct.unpack(f"<{len(data) // 4 - 2}I", data[HEADER:])
    return Sid(int.from_bytes(data[2:8], "big"), values)


def is_valid_sid(nt: Kernel, sid: int) -> bool:
    """Revision 1, at most fifteen sub-authorities; memory that cannot be read is none."""
    try:
        revision, count = nt.mmu.read(sid, 2)
        if revision & 0xF != SID_REVISION or count > SID_MAX_SUB_AUTHORITIES:
            return False
        nt.mmu.read(sid, HEADER + 4 * count)
    except StructuredException:
        return False
    return True


@export(irql="<= APC")
def RtlLengthRequiredSid(nt: Kernel, SubAuthorityCount: ULONG) -> ULONG:
    """Bytes of a SID with so many sub-authorities. Source: WDK RtlLengthRequiredSid."""
    return HEADER + 4 * SubAuthorityCount & 0xFFFF_FFFF


@export(irql="<= APC")
def RtlInitializeSid(
    nt: Kernel, Sid: PVOID, IdentifierAuthority: PVOID, SubAuthorityCount: UCHAR
) -> NTSTATUS:
    """Fill a SID's header; the sub-authorities are the caller's. Source: WDK RtlInitializeSid."""
    if SubAuthorityCount > SID_MAX_SUB_AUTHORITIES:
        return ntstatus.STATUS_INVALID_PARAMETER
    authority = nt.mmu.read(IdentifierAuthority, 6)
    nt.mmu.write(Sid, bytes([SID_REVISION, SubAuthorityCount]) + authority)
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def RtlValidSid(nt: Kernel, Sid: PVOID) -> BOOLEAN:
    """TRUE if the SID's revision and count are possible. Source: WDK RtlValidSid."""
    return is_valid_sid(nt, Sid)


@export(irql="<= APC")
def RtlLengthSid(nt: Kernel, Sid: PVOID) -> ULONG:
    """Bytes of a valid SID. Source: WDK RtlLengthSid."""
    return sid_length(nt, Sid)


@export(irql="any")
def RtlEqualSid(nt: Kernel, Sid1: PVOID, Sid2: PVOID) -> BOOLEAN:
    """TRUE if all bytes are equal. Source: WDK RtlEqualSid."""
    if nt.mmu.read(Sid1, 2) != nt.mmu.read(Sid2, 2):
        return False
    length = sid_length(nt, Sid1)
    return nt.mmu.read(Sid1, length) == nt.mmu.read(Sid2, length)


@export(irql="<= APC")
def RtlCopySid(
    nt: Kernel, DestinationSidLength: ULONG, DestinationSid: PVOID, SourceSid: PVOID
) -> NTSTATUS:
    """Copy a SID; STATUS_BUFFER_TOO_SMALL if it does not fit. Source: WDK RtlCopySid."""
    length = sid_length(nt, SourceSid)
    if DestinationSidLength < length:
        return ntstatus.STATUS_BUFFER_TOO_SMALL
    nt.mmu.write(DestinationSid, nt.mmu.read(SourceSid, length))
    return ntstatus.STATUS_SUCCESS


def typed(nt: Kernel, name: str, address: int) -> int:
    """An address that a Python driver can index."""
    made: int = pointer_to(REGISTRY[name], nt.mmu, address)
    return made


@export(irql="<= APC")
def RtlSubAuthoritySid(nt: Kernel, Sid: PVOID, SubAuthority: ULONG) -> PULONG:
    """The address of a sub-authority. Source: WDK RtlSubAuthoritySid."""
    return typed(nt, "ULONG", Sid + HEADER + 4 * SubAuthority)


@export(irql="<= APC")
def RtlSubAuthorityCountSid(nt: Kernel, Sid: PVOID) -> PUCHAR:
    """The address of the number of sub-authorities. Source: ntifs.h RtlSubAuthorityCountSid."""
    return typed(nt, "UCHAR", Sid + 1)


@export(irql="<= APC")
def RtlConvertSidToUnicodeString(
    nt: Kernel, UnicodeString: PUNICODE_STRING, Sid: PVOID, AllocateDestinationString: BOOLEAN
) -> NTSTATUS:
    """`S-1-5-18`, in the caller's buffer or in pool that RtlFreeUnicodeString takes back.

    Length excludes the terminator; a buffer without room for it is STATUS_BUFFER_OVERFLOW. An
    invalid SID is STATUS_INVALID_SID. Source: WDK RtlConvertSidToUnicodeString.
    """
    if not is_valid_sid(nt, Sid):
        return ntstatus.STATUS_INVALID_SID
    text = str(read_sid(nt, Sid)).encode("utf-16-le")
    v = UnicodeString._v
    if AllocateDestinationString:
        buffer = nt.ex.pool.allocate(len(text) + 2, "Strg", paged=True)
        if not buffer:
            return ntstatus.STATUS_NO_MEMORY
        v.Buffer, v.MaximumLength = buffer, len(text) + 2
    elif v.MaximumLength < len(text) + 2:
        return ntstatus.STATUS_BUFFER_OVERFLOW
    v.Length = len(text)
    nt.mmu.write(v.Buffer, text + b"\0\0")
    return ntstatus.STATUS_SUCCESS
