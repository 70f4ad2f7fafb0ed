"""The security descriptor of a new object: from its creator, its parent and the creator's token.

Source: WDK SeAssignSecurity, SeAssignSecurityEx, SeDeassignSecurity; Win32 "ACE Inheritance Rules";
ReactOS kmtests SeInheritance.c. A subject below medium integrity gets no label added.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import se as c
from ntsim.abi.rtl import GUID
from ntsim.abi.scalars import BOOLEAN, NTSTATUS, POOL_TYPE, PVOID, ULONG
from ntsim.nt.exports import Out, OutOpt, export
from ntsim.nt.rtl.security_descriptor import parts
from ntsim.nt.se import well_known as w
from ntsim.nt.se.inheritance import (
    INHERITED,
    Heir,
    RawAce,
    acl_of,
    inherited_aces,
    mapped,
    read_aces,
    sid_at,
    sid_value,
)
from ntsim.nt.se.privilege import holds
from ntsim.nt.se.subject import SeLockSubjectContext, SeUnlockSubjectContext, effective_token
from ntsim.nt.se.token import ENTRY, members

if TYPE_CHECKING:
    from ntsim.abi.ob import PSECURITY_SUBJECT_CONTEXT
    from ntsim.abi.rtl import PGUID
    from ntsim.abi.se import PGENERIC_MAPPING
    from ntsim.nt.kernel import Kernel

SECURITY, RESTORE = (w.luids(name).bit_length() - 1 for name in ("Security", "Restore"))
TAG = "SeSd"


class Refused(Exception):
    """No descriptor; `status` says why."""

    def __init__(self, status: int) -> None:
        super().__init__(hex(status))
        self.status = status


@dataclass(frozen=True, slots=True)
class Which:
    """DACL or SACL: bits of the control word and of AutoInheritFlags."""

    present: int
    defaulted: int
    protected: int
    auto_inherited: int
    flag: int


DACL = Which(
    c.SE_DACL_PRESENT, c.SE_DACL_DEFAULTED, c.SE_DACL_PROTECTED, c.SE_DACL_AUTO_INHERITED,
    c.SEF_DACL_AUTO_INHERIT,
)  # fmt: skip
SACL = Which(
    c.SE_SACL_PRESENT, c.SE_SACL_DEFAULTED, c.SE_SACL_PROTECTED, c.SE_SACL_AUTO_INHERITED,
    c.SEF_SACL_AUTO_INHERIT,
)  # fmt: skip


@dataclass(slots=True)
class Request:
    """The arguments of SeAssignSecurityEx but for those that only matter in the end."""

    parent: int
    explicit: int
    flags: int
    token: Any

    def sid(self, nt: Kernel, name: str, from_parent: int) -> int:
        """Address of the owner or group: explicit, the parent's if a flag says so, or 0."""
        for descriptor, used in ((self.explicit, True), (self.parent, self.flags & from_parent)):
            if descriptor and used:
                found = int(getattr(parts(nt, descriptor), name))
                if found:
                    return found
        return 0


def owner_of(nt: Kernel, request: Request) -> bytes:
    """The owner's SID, which the subject must be allowed to make an owner."""
    flags = request.flags
    at = request.sid(nt, "owner", c.SEF_DEFAULT_OWNER_FROM_PARENT)
    if at:
        found = sid_at(nt, at)
        if not flags & c.SEF_AVOID_OWNER_CHECK and not may_own(nt, request.token, found):
            raise Refused(ntstatus.STATUS_INVALID_OWNER)
        return found
    if flags & c.SEF_DEFAULT_OWNER_FROM_PARENT:
        raise Refused(ntstatus.STATUS_INVALID_OWNER)
    v = request.token._v
    return sid_at(nt, nt.read_pointer(v.UserAndGroups + ENTRY * v.DefaultOwnerIndex))


def may_own(nt: Kernel, token: Any, sid: bytes) -> bool:
    """The user, a group that may own (SE_GROUP_OWNER), or anybody with SeRestorePrivilege."""
    user, *groups = members(nt, token)
    able = [user[0], *(group for group, bits in groups if bits & c.SE_GROUP_OWNER)]
    return sid_value(sid) in able or holds(token, RESTORE)


def group_of(nt: Kernel, request: Request) -> bytes:
    """The primary group's SID."""
    at = request.sid(nt, "group", c.SEF_DEFAULT_GROUP_FROM_PARENT)
    if not at and not request.flags & c.SEF_DEFAULT_GROUP_FROM_PARENT:
        at = request.token._v.PrimaryGroup
    if not at:
        raise Refused(ntstatus.STATUS_INVALID_PRIMARY_GROUP)
    return sid_at(nt, at)


def select_acl(
    nt: Kernel, request: Request, which: Which, heir: Heir, default: int
) -> tuple[int, bytes]:
    """(bits for the control word, the ACL's bytes, empty if it is NULL or there is none).

    An explicit ACL that is no default counts, with the auto-inherit flag along with what the parent
    passes on; else what the parent passes on, the explicit default, the default of the token.
    """
    field = "dacl" if which is DACL else "sacl"
    automatic = request.flags & which.flag
    own = parts(nt, request.explicit) if request.explicit else None
    present = own is not None and bool(own.control & which.present)
    acl = int(getattr(own, field)) if present else 0
    above = int(getattr(parts(nt, request.parent), field)) if request.parent else 0
    passed = inherited_aces(nt, above, heir, INHERITED if automatic else 0)
    bits = which.present | (which.auto_inherited if automatic else 0)
    defaulted = bool(own and own.control & which.defaulted)
    if request.flags & c.SEF_DEFAULT_DESCRIPTOR_FOR_OBJECT:
        defaulted = True
    if own is not None and present and not (defaulted and passed):
        bits |= own.control & which.protected
        if not acl:
            return bits, b""
        listed = [mapped(ace, heir.mapping) for ace in read_aces(nt, acl)]
        if automatic and not own.control & which.protected:
            listed = [ace for ace in listed if not ace.flags & INHERITED] + passed
        return bits, acl_of(listed, revision(nt, acl))
    if passed:
        return bits, acl_of(passed, revision(nt, above))
    if not default:
        return 0, b""
    defaults: list[RawAce] = [mapped(ace, heir.mapping) for ace in read_aces(nt, default)]
    return bits, acl_of(defaults, revision(nt, default))


def revision(nt: Kernel, acl: int) -> int:
    return nt.mmu.read(acl, 1)[0]


def descriptor_of(
    nt: Kernel, request: Request, container: bool, mapping: Any, type_guid: bytes
) -> bytes:
    """The new descriptor, self-relative; Refused if there is none."""
    owner, group = owner_of(nt, request), group_of(nt, request)
    if request.explicit and parts(nt, request.explicit).sacl and nt.thread.v.PreviousMode:
        checked = not request.flags & c.SEF_AVOID_PRIVILEGE_CHECK
        if checked and not holds(request.token, SECURITY):
            raise Refused(ntstatus.STATUS_PRIVILEGE_NOT_HELD)
    heir = Heir(owner, group, mapping, container, type_guid)
    sacl_bits, sacl = select_acl(nt, request, SACL, heir, 0)
    dacl_bits, dacl = select_acl(nt, request, DACL, heir, request.token._v.DefaultDacl)
    at, offsets = 0x14, []
    for piece in (sacl, dacl, owner, group):
        offsets.append(at if piece else 0)
        at += len(piece)
    control = c.SE_SELF_RELATIVE | sacl_bits | dacl_bits
    order = (offsets[2], offsets[3], offsets[0], offsets[1])
    return struct.pack("<BBHIIII", 1, 0, control, *order) + sacl + dacl + owner + group


def sep_assign(
    nt: Kernel, request: Request, container: bool, mapping: Any, type_guid: bytes = b""
) -> tuple[int, int]:
    """(status, address of the new descriptor in paged pool)."""
    try:
        data = descriptor_of(nt, request, container, mapping, type_guid)
    except Refused as refused:
        return refused.status, 0
    made = nt.ex.pool.allocate(len(data), TAG, paged=True)
    if not made:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES, 0
    nt.mmu.write(made, data)
    return ntstatus.STATUS_SUCCESS, made


@export(irql="== PASSIVE")
def SeAssignSecurityEx(
    nt: Kernel,
    ParentDescriptor: PVOID,
    ExplicitDescriptor: PVOID,
    NewDescriptor: Out[PVOID],
    ObjectType: PGUID,
    IsDirectoryObject: BOOLEAN,
    AutoInheritFlags: ULONG,
    SubjectContext: PSECURITY_SUBJECT_CONTEXT,
    GenericMapping: PGENERIC_MAPPING,
    PoolType: POOL_TYPE,
) -> NTSTATUS:
    """A new object's descriptor, self-relative in paged pool whatever PoolType says.

    STATUS_NO_TOKEN without a subject; STATUS_INVALID_OWNER, STATUS_INVALID_PRIMARY_GROUP if there
    is none or the subject may not give it; STATUS_PRIVILEGE_NOT_HELD for an explicit SACL from user
    mode without SeSecurityPrivilege. SEF_ flags: see WDK SeAssignSecurityEx.
    """
    if not SubjectContext:
        NewDescriptor[0] = 0
        return ntstatus.STATUS_NO_TOKEN
    SeLockSubjectContext(nt, SubjectContext)
    token = effective_token(nt, SubjectContext)
    request = Request(int(ParentDescriptor), int(ExplicitDescriptor), AutoInheritFlags, token)
    guid = nt.mmu.read(int(ObjectType), 16) if ObjectType else b""
    status, made = sep_assign(nt, request, bool(IsDirectoryObject), GenericMapping, guid)
    SeUnlockSubjectContext(nt, SubjectContext)
    NewDescriptor[0] = made
    return status


@export(irql="== PASSIVE")
def SeAssignSecurity(
    nt: Kernel,
    ParentDescriptor: PVOID,
    ExplicitDescriptor: PVOID,
    NewDescriptor: Out[PVOID],
    IsDirectoryObject: BOOLEAN,
    SubjectContext: PSECURITY_SUBJECT_CONTEXT,
    GenericMapping: PGENERIC_MAPPING,
    PoolType: POOL_TYPE,
) -> NTSTATUS:
    """SeAssignSecurityEx without type and flags. Source: WDK SeAssignSecurity."""
    none = GUID.at(nt.mmu, 0)
    return SeAssignSecurityEx(
        nt, ParentDescriptor, ExplicitDescriptor, NewDescriptor, none, IsDirectoryObject, 0,
        SubjectContext, GenericMapping, PoolType,
    )  # fmt: skip


@export(irql="== PASSIVE")
def SeDeassignSecurity(nt: Kernel, SecurityDescriptor: OutOpt[PVOID]) -> NTSTATUS:
    """Free what SeAssignSecurity has made; the pointer becomes NULL. Source: WDK."""
    old = int(SecurityDescriptor[0])
    if old:
        nt.free_pool(old)
        SecurityDescriptor[0] = 0
    return ntstatus.STATUS_SUCCESS
