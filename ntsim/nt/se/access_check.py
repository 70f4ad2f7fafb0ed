"""The access check: what a security descriptor grants a subject.

Order: mandatory label, privileges (ACCESS_SYSTEM_SECURITY, WRITE_OWNER), the owner's rights, then
the DACL's entries in their order. A token with restricting SIDs must pass twice. Source: WDK
SeAccessCheck; Windows Internals 7, part 1, chapter 7, "Determining access"; ReactOS
ntoskrnl/se/accesschk.c.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import se as c
from ntsim.abi.scalars import ACCESS_MASK, BOOLEAN, KPROCESSOR_MODE, NTSTATUS, PVOID, ULONG
from ntsim.abi.winnt_constants import SecurityImpersonation
from ntsim.nt.exports import Out, OutOpt, export
from ntsim.nt.rtl.security_descriptor import is_valid, parts
from ntsim.nt.rtl.sid import Sid, read_sid
from ntsim.nt.se import well_known as w
from ntsim.nt.se.access_state import map_generic_mask
from ntsim.nt.se.acl import Ace, read_acl
from ntsim.nt.se.privilege import holds, privilege_set
from ntsim.nt.se.subject import effective_token
from ntsim.nt.se.token import (
    NO_WRITE_UP_POLICY,
    TOKEN_WRITE_RESTRICTED,
    integrity_level,
    members,
    restricted_members,
)

if TYPE_CHECKING:
    from ntsim.abi.ob import PSECURITY_SUBJECT_CONTEXT
    from ntsim.abi.se import PGENERIC_MAPPING, PPRIVILEGE_SET
    from ntsim.nt.kernel import Kernel

READ_CONTROL, WRITE_DAC, WRITE_OWNER = 0x2_0000, 0x4_0000, 0x8_0000
ACCESS_SYSTEM_SECURITY, MAXIMUM_ALLOWED = 1 << 24, 1 << 25
STANDARD_READ = READ_CONTROL | 0x10_0000


@dataclass(slots=True)
class Verdict:
    """Outcome of a check: status, granted rights, privileges that were needed for them."""

    status: int
    granted: int = 0
    used: list[int] = field(default_factory=list)


def denied(status: int = ntstatus.STATUS_ACCESS_DENIED) -> Verdict:
    return Verdict(status)


def sep_access_check(
    nt: Kernel, descriptor: int, context: Any, desired: int, granted: int, mapping: Any, mode: int
) -> Verdict:
    """What SeAccessCheck decides; `granted` are rights that the caller has given already."""
    if not mode:
        everything = mapping._v.GenericAll if desired & MAXIMUM_ALLOWED else 0
        return Verdict(0, granted | desired & ~MAXIMUM_ALLOWED | everything)
    if not descriptor:
        return denied()
    v = context._v
    if v.ClientToken and v.ImpersonationLevel < SecurityImpersonation:
        return denied(ntstatus.STATUS_BAD_IMPERSONATION_LEVEL)
    if not desired:
        return Verdict(0, granted) if granted else denied()
    token = effective_token(nt, context)
    return _Check(nt, descriptor, token, mapping).decide(
        map_generic_mask(desired, mapping), map_generic_mask(granted, mapping)
    )


class _Check:
    """One descriptor against one token."""

    def __init__(self, nt: Kernel, descriptor: int, token: Any, mapping: Any) -> None:
        self.nt, self.token, self.mapping = nt, token, mapping
        self.parts = parts(nt, descriptor)
        self.members = members(nt, token)
        self.owner = read_sid(nt, self.parts.owner) if self.parts.owner else None

    def decide(self, desired: int, granted: int) -> Verdict:
        used: list[int] = []
        wanted = desired & ~MAXIMUM_ALLOWED
        if wanted & ACCESS_SYSTEM_SECURITY:
            if not holds(self.token, w.SECURITY):
                return denied(ntstatus.STATUS_PRIVILEGE_NOT_HELD)
            used.append(w.SECURITY)
            granted |= ACCESS_SYSTEM_SECURITY
        if wanted & WRITE_OWNER and holds(self.token, w.TAKE_OWNERSHIP):
            used.append(w.TAKE_OWNERSHIP)
            granted |= WRITE_OWNER
        possible = self.within_label()
        rest = wanted & ~granted
        if rest & ~possible:
            return denied()
        rights = self.allowed(desired, rest) & possible
        if rest & ~rights:
            return denied()
        granted |= rights if desired & MAXIMUM_ALLOWED else rest
        return Verdict(0, granted, used) if granted else denied()

    def within_label(self) -> int:
        """The rights that the object's integrity label leaves; without one it is medium."""
        level, mask = w.MEDIUM, c.SYSTEM_MANDATORY_LABEL_NO_WRITE_UP
        for ace in read_acl(self.nt, self.parts.sacl) if self.parts.sacl else ():
            if ace.kind == c.SYSTEM_MANDATORY_LABEL_ACE_TYPE and not ace.flags & c.INHERIT_ONLY_ACE:
                level, mask = ace.sid.sub_authorities[-1], ace.mask
                break
        policy = self.token._v.MandatoryPolicy & NO_WRITE_UP_POLICY
        if not policy or integrity_level(self.nt, self.token) >= level:
            return 0x1FF_FFFF
        v = self.mapping._v
        kinds = (
            (v.GenericRead, c.SYSTEM_MANDATORY_LABEL_NO_READ_UP),
            (v.GenericWrite, c.SYSTEM_MANDATORY_LABEL_NO_WRITE_UP),
            (v.GenericExecute, c.SYSTEM_MANDATORY_LABEL_NO_EXECUTE_UP),
        )
        left = STANDARD_READ | ACCESS_SYSTEM_SECURITY
        for rights, bit in kinds:
            left |= 0 if mask & bit else rights
        return int(left)

    def allowed(self, desired: int, rest: int) -> int:
        """The rights that owner and DACL give, both times for a restricted token."""
        rights = self.by_dacl(self.members, rest)
        restricted = restricted_members(self.nt, self.token)
        if restricted:
            second = self.by_dacl(restricted, rest)
            if self.token._v.TokenFlags & TOKEN_WRITE_RESTRICTED:
                second |= ~self.mapping._v.GenericWrite & 0x1FF_FFFF
            rights &= second
        return rights

    def by_dacl(self, sids: list[tuple[Sid, int]], rest: int) -> int:
        """The rights of a list of SIDs; all where there is no DACL."""
        if not self.parts.dacl:
            return int(self.mapping._v.GenericAll) | rest
        names = {sid for sid, bits in sids if is_enabled(bits)}
        names |= {sids[0][0]} if not sids[0][1] & c.SE_GROUP_USE_FOR_DENY_ONLY else set()
        denying = {sid for sid, bits in sids if not bits & c.SE_GROUP_INTEGRITY}
        entries = [
            ace for ace in read_acl(self.nt, self.parts.dacl)
            if not ace.flags & c.INHERIT_ONLY_ACE
        ]  # fmt: skip
        rights, refused = self.owners_rights(names, entries), 0
        for ace in entries:
            mask = map_generic_mask(ace.mask, self.mapping)
            owner = ace.sid == w.OWNER_RIGHTS and self.owner in names
            if ace.kind == c.ACCESS_ALLOWED_ACE_TYPE and (ace.sid in names or owner):
                rights |= mask & ~refused
            elif ace.kind == c.ACCESS_DENIED_ACE_TYPE and (ace.sid in denying or owner):
                refused |= mask & ~rights
        return rights

    def owners_rights(self, names: set[Sid], entries: list[Ace]) -> int:
        """READ_CONTROL and WRITE_DAC of the owner, unless an ACE for OWNER RIGHTS says else."""
        if self.owner not in names or any(ace.sid == w.OWNER_RIGHTS for ace in entries):
            return 0
        return READ_CONTROL | WRITE_DAC


def is_enabled(attributes: int) -> bool:
    """Whether a group counts for what allows."""
    return bool(attributes & c.SE_GROUP_ENABLED) and not attributes & c.SE_GROUP_USE_FOR_DENY_ONLY


@export(irql="== PASSIVE")
def SeAccessCheck(
    nt: Kernel,
    SecurityDescriptor: PVOID,
    SubjectSecurityContext: PSECURITY_SUBJECT_CONTEXT,
    SubjectContextLocked: BOOLEAN,
    DesiredAccess: ACCESS_MASK,
    PreviouslyGrantedAccess: ACCESS_MASK,
    Privileges: OutOpt[PPRIVILEGE_SET],
    GenericMapping: PGENERIC_MAPPING,
    AccessMode: KPROCESSOR_MODE,
    GrantedAccess: Out[ACCESS_MASK],
    AccessStatus: Out[NTSTATUS],
) -> BOOLEAN:
    """Whether a subject may have rights to what the descriptor protects; FALSE: *AccessStatus why.

    KernelMode gets everything; a NULL descriptor lets no user in. *Privileges is NULL or a set of
    those that were needed, for SeFreePrivileges. Source: WDK SeAccessCheck; ReactOS
    ntoskrnl/se/accesschk.c.
    """
    verdict = sep_access_check(
        nt, SecurityDescriptor, SubjectSecurityContext, DesiredAccess, PreviouslyGrantedAccess,
        GenericMapping, AccessMode,
    )  # fmt: skip
    if Privileges:
        Privileges[0] = privilege_set(nt, verdict.used) if verdict.used else 0  # type: ignore
    GrantedAccess[0], AccessStatus[0] = verdict.granted, verdict.status
    return verdict.status == ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def SeValidSecurityDescriptor(nt: Kernel, Length: ULONG, SecurityDescriptor: PVOID) -> BOOLEAN:
    """TRUE if Length bytes hold a whole, valid self-relative descriptor. Source: WDK."""
    if Length < 0x14:
        return False
    if not parts(nt, SecurityDescriptor).control & c.SE_SELF_RELATIVE:
        return False
    found = parts(nt, SecurityDescriptor)
    end = SecurityDescriptor + Length
    pieces = (found.owner, found.group, found.sacl, found.dacl)
    if not found.owner or any(at and not SecurityDescriptor < at <= end - 8 for at in pieces):
        return False
    return is_valid(nt, SecurityDescriptor)
