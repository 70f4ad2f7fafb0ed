"""Access control lists: an ACL header and the ACEs behind it.

Source: WDK RtlCreateAcl, RtlAddAccessAllowedAce; ntifs.h; ReactOS lib/rtl/acl.c for the statuses.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import ACCESS_MASK, BOOLEAN, NTSTATUS, PVOID, ULONG
from ntsim.abi.se import (
    ACCESS_ALLOWED_ACE_TYPE,
    ACCESS_DENIED_ACE_TYPE,
    ACL,
    ACL_REVISION,
    ACL_REVISION_DS,
)
from ntsim.nt.exports import Out, export
from ntsim.nt.rtl.sid import is_valid_sid, sid_length

if TYPE_CHECKING:
    from ntsim.abi.se import PACL
    from ntsim.nt.kernel import Kernel

_REVISIONS = range(ACL_REVISION, ACL_REVISION_DS + 1)
VALID_INHERIT_FLAGS = 0x1F
MAXULONG = 0xFFFF_FFFF


def aces(nt: Kernel, acl: int) -> Iterator[tuple[int, int, int, int]]:
    """(address, type, flags, size) of each ACE of the ACL at an address."""
    at = acl + ACL.size
    for _ in range(ACL.at(nt.mmu, acl)._v.AceCount):
        kind, flags, size = struct.unpack("<BBH", nt.mmu.read(at, 4))
        yield at, kind, flags, size
        at += size


def first_free(nt: Kernel, acl: int) -> int | None:
    """The address behind the last ACE; None if the ACEs overrun the ACL."""
    v = ACL.at(nt.mmu, acl)._v
    at, end = acl + ACL.size, acl + v.AclSize
    for _ in range(v.AceCount):
        if at + 4 > end:
            return None
        at += struct.unpack("<H", nt.mmu.read(at + 2, 2))[0]
    return at if at <= end else None


def is_valid_acl(nt: Kernel, acl: int) -> bool:
    """Known revision, and ACEs that lie within AclSize."""
    return ACL.at(nt.mmu, acl)._v.AclRevision in _REVISIONS and first_free(nt, acl) is not None


def add_sid_ace(
    nt: Kernel, acl: PACL, revision: int, flags: int, mask: int, sid: int, kind: int
) -> int:
    """Append an ACE that names a mask and a SID; the status."""
    if not is_valid_sid(nt, sid):
        return ntstatus.STATUS_INVALID_SID
    v = acl._v
    if v.AclRevision not in _REVISIONS or revision not in _REVISIONS:
        return ntstatus.STATUS_REVISION_MISMATCH
    if flags & ~VALID_INHERIT_FLAGS:
        return ntstatus.STATUS_INVALID_PARAMETER
    at = first_free(nt, int(acl))
    if at is None:
        return ntstatus.STATUS_INVALID_ACL
    length = sid_length(nt, sid)
    if at + 8 + length > int(acl) + v.AclSize:
        return ntstatus.STATUS_ALLOTTED_SPACE_EXCEEDED
    head = struct.pack("<BBHI", kind, flags, 8 + length, mask)
    nt.mmu.write(at, head + nt.mmu.read(sid, length))
    v.AceCount += 1
    v.AclRevision = max(v.AclRevision, revision)
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def RtlCreateAcl(nt: Kernel, Acl: PACL, AclLength: ULONG, AclRevision: ULONG) -> NTSTATUS:
    """An empty ACL of AclLength bytes, rounded down to whole ULONGs.

    Shorter than its header is STATUS_BUFFER_TOO_SMALL; longer than 0xFFFF or another revision than
    2 to 4 STATUS_INVALID_PARAMETER. Source: WDK RtlCreateAcl.
    """
    if AclLength < ACL.size:
        return ntstatus.STATUS_BUFFER_TOO_SMALL
    if AclRevision not in _REVISIONS or AclLength > 0xFFFF:
        return ntstatus.STATUS_INVALID_PARAMETER
    v = Acl._v
    v.AclRevision, v.Sbz1, v.AclSize = AclRevision, 0, AclLength & ~3
    v.AceCount = v.Sbz2 = 0
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def RtlValidAcl(nt: Kernel, Acl: PACL) -> BOOLEAN:
    """TRUE if revision and sizes are possible. Source: ntifs.h RtlValidAcl."""
    return is_valid_acl(nt, int(Acl))


@export(irql="<= APC")
def RtlAddAccessAllowedAce(
    nt: Kernel, Acl: PACL, AceRevision: ULONG, AccessMask: ACCESS_MASK, Sid: PVOID
) -> NTSTATUS:
    """Append an ACE that allows. Source: WDK RtlAddAccessAllowedAce."""
    return add_sid_ace(nt, Acl, AceRevision, 0, AccessMask, Sid, ACCESS_ALLOWED_ACE_TYPE)


@export(irql="<= APC")
def RtlAddAccessAllowedAceEx(
    nt: Kernel,
    Acl: PACL,
    AceRevision: ULONG,
    AceFlags: ULONG,
    AccessMask: ACCESS_MASK,
    Sid: PVOID,
) -> NTSTATUS:
    """Append an ACE that allows, with inheritance flags. Source: ntifs.h."""
    return add_sid_ace(nt, Acl, AceRevision, AceFlags, AccessMask, Sid, ACCESS_ALLOWED_ACE_TYPE)


@export(irql="<= APC")
def RtlAddAccessDeniedAce(
    nt: Kernel, Acl: PACL, AceRevision: ULONG, AccessMask: ACCESS_MASK, Sid: PVOID
) -> NTSTATUS:
    """Append an ACE that denies. Source: ReactOS lib/rtl/acl.c."""
    return add_sid_ace(nt, Acl, AceRevision, 0, AccessMask, Sid, ACCESS_DENIED_ACE_TYPE)


@export(irql="<= APC")
def RtlAddAce(
    nt: Kernel,
    Acl: PACL,
    AceRevision: ULONG,
    StartingAceIndex: ULONG,
    AceList: PVOID,
    AceListLength: ULONG,
) -> NTSTATUS:
    """Insert ACEs before the StartingAceIndex-th, MAXULONG: at the end. Source: WDK RtlAddAce."""
    v, at = Acl._v, first_free(nt, int(Acl))
    if v.AclRevision not in _REVISIONS or at is None:
        return ntstatus.STATUS_INVALID_PARAMETER
    new, count, offset = nt.mmu.read(AceList, AceListLength), 0, 0
    while offset < AceListLength:
        size = int.from_bytes(new[offset + 2 : offset + 4], "little")
        if size < 4 or offset + size > AceListLength:
            return ntstatus.STATUS_INVALID_PARAMETER
        offset, count = offset + size, count + 1
    if at + AceListLength > int(Acl) + v.AclSize:
        return ntstatus.STATUS_BUFFER_TOO_SMALL
    starts = [address for address, *_ in aces(nt, int(Acl))]
    place = starts[StartingAceIndex] if StartingAceIndex < len(starts) else at
    rest = nt.mmu.read(place, at - place) if at > place else b""
    nt.mmu.write(place, new + rest)
    v.AceCount += count
    v.AclRevision = max(v.AclRevision, AceRevision)
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def RtlGetAce(nt: Kernel, Acl: PACL, AceIndex: ULONG, Ace: Out[PVOID]) -> NTSTATUS:
    """The address of the AceIndex-th ACE. Source: ntifs.h RtlGetAce."""
    starts = [address for address, *_ in aces(nt, int(Acl))]
    if Acl._v.AclRevision not in _REVISIONS or AceIndex >= len(starts):
        return ntstatus.STATUS_INVALID_PARAMETER
    Ace[0] = starts[AceIndex]
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def RtlDeleteAce(nt: Kernel, Acl: PACL, AceIndex: ULONG) -> NTSTATUS:
    """Take an ACE out; those behind it move up. Source: ntifs.h RtlDeleteAce."""
    found, end = list(aces(nt, int(Acl))), first_free(nt, int(Acl))
    if Acl._v.AclRevision not in _REVISIONS or AceIndex >= len(found) or end is None:
        return ntstatus.STATUS_INVALID_PARAMETER
    at, _, _, size = found[AceIndex]
    rest = nt.mmu.read(at + size, end - at - size) if end > at + size else b""
    nt.mmu.write(at, rest + bytes(size))
    Acl._v.AceCount -= 1
    return ntstatus.STATUS_SUCCESS
