"""Security descriptors, absolute (pointers) and self-relative (offsets).

Source: WDK RtlCreateSecurityDescriptor, RtlSetDaclSecurityDescriptor and their pages; ntifs.h;
ReactOS lib/rtl/sd.c for the order of the parts of a self-relative descriptor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi import se as c
from ntsim.abi.scalars import BOOLEAN, NTSTATUS, PVOID, ULONG
from ntsim.abi.se import ACL, SECURITY_DESCRIPTOR, SECURITY_DESCRIPTOR_RELATIVE
from ntsim.nt.exports import Out, OutOpt, export
from ntsim.nt.rtl.acl import is_valid_acl
from ntsim.nt.rtl.sid import is_valid_sid, sid_length

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


@dataclass(slots=True)
class Parts:
    """Where the parts of a descriptor are; 0: there is none."""

    control: int
    owner: int
    group: int
    sacl: int
    dacl: int


def revision_of(nt: Kernel, descriptor: int) -> int:
    return nt.mmu.read(descriptor, 1)[0]


def parts(nt: Kernel, descriptor: int) -> Parts:
    """The parts of a descriptor of either form."""
    v = SECURITY_DESCRIPTOR.at(nt.mmu, descriptor)._v
    control = v.Control
    if not control & c.SE_SELF_RELATIVE:
        found = Parts(control, v.Owner, v.Group, v.Sacl, v.Dacl)
    else:
        r = SECURITY_DESCRIPTOR_RELATIVE.at(nt.mmu, descriptor)._v
        offsets = (r.Owner, r.Group, r.Sacl, r.Dacl)
        found = Parts(control, *(descriptor + at if at else 0 for at in offsets))
    if not control & c.SE_DACL_PRESENT:
        found.dacl = 0
    if not control & c.SE_SACL_PRESENT:
        found.sacl = 0
    return found


def contents(nt: Kernel, descriptor: int) -> tuple[Parts, list[bytes]]:
    """The parts and their bytes, in the order in which a self-relative descriptor has them."""
    found = parts(nt, descriptor)
    acls = [
        nt.mmu.read(at, ACL.at(nt.mmu, at)._v.AclSize) if at else b""
        for at in (found.sacl, found.dacl)
    ]
    sids = [
        nt.mmu.read(at, sid_length(nt, at)) if at else b"" for at in (found.owner, found.group)
    ]
    return found, [part + bytes(-len(part) % 4) for part in (*acls, *sids)]


def self_relative(nt: Kernel, descriptor: int) -> bytes:
    """The descriptor as one block of bytes."""
    found, pieces = contents(nt, descriptor)
    at, offsets = SECURITY_DESCRIPTOR_RELATIVE.size, []
    for piece in pieces:
        offsets.append(at if piece else 0)
        at += len(piece)
    sacl, dacl, owner, group = offsets
    head = bytes([revision_of(nt, descriptor), 0])
    head += (found.control | c.SE_SELF_RELATIVE).to_bytes(2, "little")
    head += b"".join(value.to_bytes(4, "little") for value in (owner, group, sacl, dacl))
    return head + b"".join(pieces)


def is_valid(nt: Kernel, descriptor: int) -> bool:
    """Known revision, valid SIDs and ACLs."""
    if revision_of(nt, descriptor) != c.SECURITY_DESCRIPTOR_REVISION:
        return False
    found = parts(nt, descriptor)
    sids = all(is_valid_sid(nt, sid) for sid in (found.owner, found.group) if sid)
    return sids and all(is_valid_acl(nt, acl) for acl in (found.sacl, found.dacl) if acl)


def writable(nt: Kernel, descriptor: int) -> int:
    """STATUS_SUCCESS if a setter may change the descriptor: revision 1, absolute."""
    if revision_of(nt, descriptor) != c.SECURITY_DESCRIPTOR_REVISION:
        return ntstatus.STATUS_UNKNOWN_REVISION
    if SECURITY_DESCRIPTOR.at(nt.mmu, descriptor)._v.Control & c.SE_SELF_RELATIVE:
        return ntstatus.STATUS_INVALID_SECURITY_DESCR
    return ntstatus.STATUS_SUCCESS


def set_bits(v: object, on: bool, bits: int) -> None:
    """Set or clear bits of Control."""
    old = v.Control  # type: ignore[attr-defined]
    v.Control = old | bits if on else old & ~bits  # type: ignore[attr-defined]


def set_acl(
    nt: Kernel, descriptor: int, field: str, present: int, acl: int, defaulted: int, bits: int
) -> int:
    """Set Dacl or Sacl; `bits` is the pair of its present and defaulted flags."""
    status = writable(nt, descriptor)
    if status:
        return status
    v = SECURITY_DESCRIPTOR.at(nt.mmu, descriptor)._v
    present_bit, defaulted_bit = bits & 0x14, bits & 0x28
    set_bits(v, bool(present), present_bit)
    if present:
        setattr(v, field, acl)
        set_bits(v, bool(defaulted), defaulted_bit)
    return status


@export(irql="<= APC")
def RtlCreateSecurityDescriptor(
    nt: Kernel, SecurityDescriptor: PVOID, Revision: ULONG
) -> NTSTATUS:
    """An empty absolute descriptor; another revision than 1 is STATUS_UNKNOWN_REVISION.

    Source: WDK RtlCreateSecurityDescriptor.
    """
    if Revision != c.SECURITY_DESCRIPTOR_REVISION:
        return ntstatus.STATUS_UNKNOWN_REVISION
    nt.mmu.write(SecurityDescriptor, b"\1" + bytes(SECURITY_DESCRIPTOR.size - 1))
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def RtlValidSecurityDescriptor(nt: Kernel, SecurityDescriptor: PVOID) -> BOOLEAN:
    """TRUE if revision, SIDs and ACLs are valid. Source: WDK RtlValidSecurityDescriptor."""
    return is_valid(nt, SecurityDescriptor)


@export(irql="<= APC")
def RtlLengthSecurityDescriptor(nt: Kernel, SecurityDescriptor: PVOID) -> ULONG:
    """Bytes of the descriptor and its parts, as one block. Source: WDK."""
    found, pieces = contents(nt, SecurityDescriptor)
    relative = found.control & c.SE_SELF_RELATIVE
    kind = SECURITY_DESCRIPTOR_RELATIVE if relative else SECURITY_DESCRIPTOR
    return kind.size + sum(map(len, pieces))


@export(irql="<= APC")
def RtlSetDaclSecurityDescriptor(
    nt: Kernel, SecurityDescriptor: PVOID, DaclPresent: BOOLEAN, Dacl: PVOID, DaclDefaulted: BOOLEAN
) -> NTSTATUS:
    """Set the DACL of an absolute descriptor; present and NULL allows everybody everything.

    A self-relative one is STATUS_INVALID_SECURITY_DESCR. Source: WDK.
    """
    bits = c.SE_DACL_PRESENT | c.SE_DACL_DEFAULTED
    return set_acl(nt, SecurityDescriptor, "Dacl", DaclPresent, Dacl, DaclDefaulted, bits)


@export(irql="<= APC")
def RtlSetSaclSecurityDescriptor(
    nt: Kernel, SecurityDescriptor: PVOID, SaclPresent: BOOLEAN, Sacl: PVOID, SaclDefaulted: BOOLEAN
) -> NTSTATUS:
    """Set the SACL of an absolute descriptor. Source: ntifs.h; ReactOS lib/rtl/sd.c."""
    bits = c.SE_SACL_PRESENT | c.SE_SACL_DEFAULTED
    return set_acl(nt, SecurityDescriptor, "Sacl", SaclPresent, Sacl, SaclDefaulted, bits)


def set_sid(
    nt: Kernel, descriptor: int, field: str, sid: int, defaulted: int, defaulted_bit: int
) -> int:
    """Set Owner or Group of an absolute descriptor."""
    status = writable(nt, descriptor)
    if not status:
        v = SECURITY_DESCRIPTOR.at(nt.mmu, descriptor)._v
        setattr(v, field, sid)
        set_bits(v, bool(defaulted), defaulted_bit)
    return status


@export(irql="<= APC")
def RtlSetOwnerSecurityDescriptor(
    nt: Kernel, SecurityDescriptor: PVOID, Owner: PVOID, OwnerDefaulted: BOOLEAN
) -> NTSTATUS:
    """Set the owner of an absolute descriptor. Source: ntifs.h."""
    return set_sid(
        nt, SecurityDescriptor, "Owner", Owner, OwnerDefaulted, c.SE_OWNER_DEFAULTED
    )  # fmt: skip


@export(irql="<= APC")
def RtlSetGroupSecurityDescriptor(
    nt: Kernel, SecurityDescriptor: PVOID, Group: PVOID, GroupDefaulted: BOOLEAN
) -> NTSTATUS:
    """Set the primary group of an absolute descriptor. Source: ntifs.h."""
    return set_sid(
        nt, SecurityDescriptor, "Group", Group, GroupDefaulted, c.SE_GROUP_DEFAULTED
    )  # fmt: skip


def get_acl(
    nt: Kernel,
    descriptor: int,
    present: Out[BOOLEAN],
    acl: Out[PVOID],
    defaulted: Out[BOOLEAN],
    bits: int,
) -> int:
    """DACL or SACL; without one only *present is stored."""
    if revision_of(nt, descriptor) != c.SECURITY_DESCRIPTOR_REVISION:
        return ntstatus.STATUS_UNKNOWN_REVISION
    found = parts(nt, descriptor)
    present[0] = int(bool(found.control & bits & 0x14))
    if found.control & bits & 0x14:
        acl[0] = found.dacl if bits & c.SE_DACL_PRESENT else found.sacl
        defaulted[0] = int(bool(found.control & bits & 0x28))
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def RtlGetDaclSecurityDescriptor(
    nt: Kernel,
    SecurityDescriptor: PVOID,
    DaclPresent: Out[BOOLEAN],
    Dacl: Out[PVOID],
    DaclDefaulted: OutOpt[BOOLEAN],
) -> NTSTATUS:
    """The DACL; *Dacl and *DaclDefaulted are stored only if there is one. Source: WDK."""
    bits = c.SE_DACL_PRESENT | c.SE_DACL_DEFAULTED
    return get_acl(nt, SecurityDescriptor, DaclPresent, Dacl, DaclDefaulted or [0], bits)


@export(irql="<= APC")
def RtlGetSaclSecurityDescriptor(
    nt: Kernel,
    SecurityDescriptor: PVOID,
    SaclPresent: Out[BOOLEAN],
    Sacl: Out[PVOID],
    SaclDefaulted: Out[BOOLEAN],
) -> NTSTATUS:
    """The SACL; *Sacl and *SaclDefaulted are stored only if there is one. Source: ntifs.h."""
    bits = c.SE_SACL_PRESENT | c.SE_SACL_DEFAULTED
    return get_acl(nt, SecurityDescriptor, SaclPresent, Sacl, SaclDefaulted, bits)


@export(irql="<= APC")
def RtlGetOwnerSecurityDescriptor(
    nt: Kernel, SecurityDescriptor: PVOID, Owner: Out[PVOID], OwnerDefaulted: OutOpt[BOOLEAN]
) -> NTSTATUS:
    """The owner, NULL if there is none. Source: WDK RtlGetOwnerSecurityDescriptor."""
    if revision_of(nt, SecurityDescriptor) != c.SECURITY_DESCRIPTOR_REVISION:
        return ntstatus.STATUS_UNKNOWN_REVISION
    found = parts(nt, SecurityDescriptor)
    Owner[0] = found.owner
    if OwnerDefaulted:
        OwnerDefaulted[0] = int(bool(found.control & c.SE_OWNER_DEFAULTED))
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def RtlGetGroupSecurityDescriptor(
    nt: Kernel, SecurityDescriptor: PVOID, Group: Out[PVOID], GroupDefaulted: OutOpt[BOOLEAN]
) -> NTSTATUS:
    """The primary group, NULL if there is none. Source: WDK RtlGetGroupSecurityDescriptor."""
    if revision_of(nt, SecurityDescriptor) != c.SECURITY_DESCRIPTOR_REVISION:
        return ntstatus.STATUS_UNKNOWN_REVISION
    found = parts(nt, SecurityDescriptor)
    Group[0] = found.group
    if GroupDefaulted:
        GroupDefaulted[0] = int(bool(found.control & c.SE_GROUP_DEFAULTED))
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def RtlAbsoluteToSelfRelativeSD(
    nt: Kernel,
    AbsoluteSecurityDescriptor: PVOID,
    SelfRelativeSecurityDescriptor: PVOID,
    BufferLength: OutOpt[ULONG],
) -> NTSTATUS:
    """Copy into one block. Too small: STATUS_BUFFER_TOO_SMALL and the size in *BufferLength.

    A self-relative source is STATUS_BAD_DESCRIPTOR_FORMAT. Source: ntifs.h; ReactOS lib/rtl/sd.c.
    """
    if parts(nt, AbsoluteSecurityDescriptor).control & c.SE_SELF_RELATIVE:
        return ntstatus.STATUS_BAD_DESCRIPTOR_FORMAT
    data = self_relative(nt, AbsoluteSecurityDescriptor)
    room = BufferLength[0]
    if room < len(data):
        BufferLength[0] = len(data)
        return ntstatus.STATUS_BUFFER_TOO_SMALL
    nt.mmu.write(SelfRelativeSecurityDescriptor, data)
    return ntstatus.STATUS_SUCCESS
