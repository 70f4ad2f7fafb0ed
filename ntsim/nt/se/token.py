"""Access tokens: who a process or an impersonating thread is.

A token is an object of type Token whose body is TOKEN: user and groups follow it as
SID_AND_ATTRIBUTES and their SIDs; primary group and default DACL are a block of their own, because
they may change. All questions are answered from these bytes. Source: Windows Internals 7, part 1,
chapter 7; Win32 "Access Tokens"; ReactOS ntoskrnl/se/token.c.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ntsim.abi import se as c
from ntsim.abi.se import TOKEN
from ntsim.nt.rtl.sid import Sid, read_sid, sid_length
from ntsim.nt.se import well_known as w
from ntsim.nt.se.acl import Ace, acl_bytes

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

ENTRY = 16
ALWAYS_ON = c.SE_GROUP_MANDATORY | c.SE_GROUP_ENABLED_BY_DEFAULT | c.SE_GROUP_ENABLED
INTEGRITY = c.SE_GROUP_INTEGRITY | c.SE_GROUP_INTEGRITY_ENABLED
NO_INTEGRITY = 0xFFFF_FFFF

TOKEN_HAS_TRAVERSE_PRIVILEGE, TOKEN_WRITE_RESTRICTED, TOKEN_IS_RESTRICTED = 1, 8, 0x10
TOKEN_SANDBOX_INERT, TOKEN_HAS_IMPERSONATE_PRIVILEGE = 0x40, 0x80
TOKEN_IS_FILTERED, TOKEN_NOT_LOW = 0x800, 0x2000
"""Bits of TOKEN.TokenFlags (ntifs.h)."""

DERIVED_FLAGS = (
    TOKEN_HAS_TRAVERSE_PRIVILEGE | TOKEN_IS_RESTRICTED | TOKEN_HAS_IMPERSONATE_PRIVILEGE
    | TOKEN_NOT_LOW
)  # fmt: skip

NO_WRITE_UP_POLICY, NEW_PROCESS_MIN_POLICY = 1, 2
SYSTEM_LUID, INTERACTIVE_LUID = 0x3E7, 0xF423F


@dataclass(frozen=True, slots=True)
class Identity:
    """What a token says, apart from its ids: groups with their SE_GROUP_ bits, privileges as
    masks of LUID bits."""

    user: Sid
    groups: tuple[tuple[Sid, int], ...]
    owner_index: int
    primary_group: Sid
    present: int
    enabled: int
    enabled_by_default: int
    default_dacl: bytes
    restricted: tuple[tuple[Sid, int], ...] = ()
    kind: int = c.TokenPrimary
    level: int = 0
    """Impersonation level; meaningless for a primary token."""
    session: int = 1
    flags: int = 0
    authentication: int = INTERACTIVE_LUID
    user_attributes: int = 0


def system_identity() -> Identity:
    """The token of System and of services that run as LocalSystem."""
    groups = (
        (w.ADMINISTRATORS, c.SE_GROUP_OWNER | ALWAYS_ON & ~c.SE_GROUP_MANDATORY),
        (w.WORLD, ALWAYS_ON),
        (w.AUTHENTICATED_USERS, ALWAYS_ON),
        (w.integrity(w.SYSTEM_LEVEL), INTEGRITY),
    )
    dacl = acl_bytes(
        [Ace(0, 0, 0x1000_0000, w.SYSTEM), Ace(0, 0, 0xA002_0000, w.ADMINISTRATORS)]
    )
    present = w.SYSTEM_ENABLED | w.SYSTEM_DISABLED
    return Identity(
        w.SYSTEM, groups, 1, w.SYSTEM, present, w.SYSTEM_ENABLED, w.SYSTEM_ENABLED, dacl,
        session=0, authentication=SYSTEM_LUID,
    )  # fmt: skip


def administrator_identity() -> Identity:
    """An elevated administrator: what "Run as administrator" gives a program."""
    ordinary = (
        w.USERS, w.INTERACTIVE, w.CONSOLE_LOGON, w.AUTHENTICATED_USERS, w.THIS_ORGANIZATION,
        w.LOCAL_ACCOUNT,
    )  # fmt: skip
    groups = (
        (w.NO_GROUP, ALWAYS_ON),
        (w.WORLD, ALWAYS_ON),
        (w.LOCAL_ADMINISTRATOR, ALWAYS_ON),
        (w.ADMINISTRATORS, ALWAYS_ON | c.SE_GROUP_OWNER),
        *((each, ALWAYS_ON) for each in ordinary),
        (w.LOGON_ID, ALWAYS_ON | c.SE_GROUP_LOGON_ID),
        (w.LOCAL, ALWAYS_ON),
        (w.NTLM, ALWAYS_ON),
        (w.integrity(w.HIGH), INTEGRITY),
    )
    present = w.ADMINISTRATOR_ENABLED | w.ADMINISTRATOR_DISABLED
    enabled = w.ADMINISTRATOR_ENABLED
    return Identity(
        w.USER, groups, 4, w.NO_GROUP, present, enabled, enabled, user_dacl(w.ADMINISTRATORS)
    )


def user_dacl(owner: Sid) -> bytes:
    """The default DACL of an interactive user's token."""
    allowed = ((0x1000_0000, owner), (0x1000_0000, w.SYSTEM), (0xA000_0000, w.LOGON_ID))
    return acl_bytes([Ace(0, 0, mask, sid) for mask, sid in allowed])


def filtered(of: Identity) -> Identity:
    """The same user as UAC lets programs run: no administrator, medium integrity.

    Administrative groups can only deny, and of the privileges those of a standard user are left.
    Source: Win32 CreateRestrictedToken, LUA_TOKEN; "How User Account Control works".
    """
    made = []
    for sid, attributes in of.groups:
        if sid in (w.ADMINISTRATORS, w.LOCAL_ADMINISTRATOR):
            attributes = c.SE_GROUP_USE_FOR_DENY_ONLY
        elif sid.authority == 16 and sid.sub_authorities[-1] > w.MEDIUM:
            sid = w.integrity(w.MEDIUM)
        made.append((sid, attributes))
    kept = of.present & w.ALWAYS
    return replace(
        of, groups=tuple(made), owner_index=0, present=kept, enabled=of.enabled & kept,
        enabled_by_default=of.enabled_by_default & kept, default_dacl=user_dacl(of.user),
        flags=of.flags | TOKEN_IS_FILTERED,
    )  # fmt: skip


def sep_create_token(nt: Kernel, of: Identity, parent: int = 0) -> Any:
    """A token object with one reference; NULL if memory is short."""
    members = ((of.user, of.user_attributes), *of.groups)
    everyone = (*members, *of.restricted)
    variable = sum(ENTRY + len(bytes(sid)) for sid, _ in everyone)
    group = bytes(of.primary_group)
    dynamic = nt.allocate_pool(max(len(group) + len(of.default_dacl), 16), "SeTd")
    body = nt.ob.create(nt.se.token_type, TOKEN.size + variable, None, "Toke") if dynamic else 0
    token = TOKEN.at(nt.mmu, body)
    if not body:
        if dynamic:
            nt.free_pool(dynamic)
        return token
    v = token._v
    at = body + TOKEN.offset_of("VariablePart")
    v.UserAndGroupCount, v.RestrictedSidCount = len(members), len(of.restricted)
    v.VariableLength = variable
    v.UserAndGroups = at
    v.RestrictedSids = at + ENTRY * len(members) if of.restricted else 0
    nt.mmu.write(at, entries(everyone, at))
    _fill_dynamic(nt, v, dynamic, group, of.default_dacl)
    nt.mmu.write(body, b"User32 \0" if of.session else b"*SYSTEM*")
    v.TokenId_LowPart = nt.se.new_luid()
    v.ModifiedId_LowPart = nt.se.new_luid()
    v.AuthenticationId_LowPart = of.authentication
    v.ParentTokenId_LowPart = parent
    v.ExpirationTime = (1 << 63) - 1
    v.Privileges_Present, v.Privileges_Enabled = of.present, of.enabled
    v.Privileges_EnabledByDefault = of.enabled_by_default
    v.SessionId, v.DefaultOwnerIndex = of.session, of.owner_index
    v.TokenType, v.ImpersonationLevel = of.kind, of.level
    _fill_flags(v, of, members)
    return token


def _fill_dynamic(nt: Kernel, v: Any, block: int, group: bytes, dacl: bytes) -> None:
    """Primary group and default DACL, one behind the other."""
    nt.mmu.write(block, group + dacl)
    v.DynamicPart = v.PrimaryGroup = block
    v.DefaultDacl = block + len(group) if dacl else 0
    v.DynamicCharged, v.DynamicAvailable = 0x1000, 0x1000 - len(group) - len(dacl)


def _fill_flags(v: Any, of: Identity, members: Sequence[tuple[Sid, int]]) -> None:
    v.MandatoryPolicy = NO_WRITE_UP_POLICY | NEW_PROCESS_MIN_POLICY
    v.IntegrityLevelIndex = NO_INTEGRITY
    v.TokenFlags = of.flags | (TOKEN_IS_RESTRICTED if of.restricted else 0)
    if of.present & w.luids("ChangeNotify"):
        v.TokenFlags |= TOKEN_HAS_TRAVERSE_PRIVILEGE
    if of.present & w.luids("Impersonate"):
        v.TokenFlags |= TOKEN_HAS_IMPERSONATE_PRIVILEGE
    for index, (sid, attributes) in enumerate(members):
        if attributes & c.SE_GROUP_INTEGRITY:
            v.IntegrityLevelIndex = index
            v.TokenFlags |= TOKEN_NOT_LOW if sid.sub_authorities[-1] > w.LOW else 0


def entries(members: Sequence[tuple[Sid, int]], at: int) -> bytes:
    """SID_AND_ATTRIBUTES of each, then the SIDs, as they lie at address `at`."""
    head, tail = b"", b""
    first = at + ENTRY * len(members)
    for sid, attributes in members:
        head += struct.pack("<QII", first + len(tail), attributes, 0)
        tail += bytes(sid)
    return head + tail


def read_entries(nt: Kernel, at: int, count: int) -> list[tuple[Sid, int]]:
    """The SIDs and attributes of an array of SID_AND_ATTRIBUTES."""
    data = nt.mmu.read(at, ENTRY * count) if count else b""
    return [(read_sid(nt, sid), bits) for sid, bits, _ in struct.iter_unpack("<QII", data)]


def members(nt: Kernel, token: Any) -> list[tuple[Sid, int]]:
    """The user and the groups."""
    v = token._v
    return read_entries(nt, v.UserAndGroups, v.UserAndGroupCount)


def restricted_members(nt: Kernel, token: Any) -> list[tuple[Sid, int]]:
    v = token._v
    return read_entries(nt, v.RestrictedSids, v.RestrictedSidCount)


def integrity_level(nt: Kernel, token: Any) -> int:
    """The level of a token; one without is taken for low."""
    v = token._v
    if v.IntegrityLevelIndex == NO_INTEGRITY:
        return w.LOW
    level = nt.read_pointer(v.UserAndGroups + ENTRY * v.IntegrityLevelIndex)
    return read_sid(nt, level).sub_authorities[-1]


def default_dacl(nt: Kernel, token: Any) -> bytes:
    """The bytes of the token's default DACL, empty if it has none."""
    at = token._v.DefaultDacl
    return nt.mmu.read(at, int.from_bytes(nt.mmu.read(at + 2, 2), "little")) if at else b""


def primary_group(nt: Kernel, token: Any) -> Sid:
    return read_sid(nt, token._v.PrimaryGroup)


def owner(nt: Kernel, token: Any) -> Sid:
    """Who owns what this token's holder creates."""
    at = token._v.UserAndGroups + ENTRY * token._v.DefaultOwnerIndex
    return read_sid(nt, nt.read_pointer(at))


def identity_of(nt: Kernel, token: Any) -> Identity:
    """What the bytes of a token say."""
    v = token._v
    user, *groups = members(nt, token)
    return Identity(
        user[0], tuple(groups), v.DefaultOwnerIndex, primary_group(nt, token),
        v.Privileges_Present, v.Privileges_Enabled, v.Privileges_EnabledByDefault,
        default_dacl(nt, token), tuple(restricted_members(nt, token)), v.TokenType,
        v.ImpersonationLevel, v.SessionId, v.TokenFlags & ~DERIVED_FLAGS,
        v.AuthenticationId_LowPart, user[1],
    )  # fmt: skip


def sep_duplicate_token(nt: Kernel, token: Any, kind: int, level: int, effective: bool) -> Any:
    """A copy, a primary or an impersonation token; `effective`: without what is not enabled.

    Source: Win32 DuplicateTokenEx; ReactOS ntoskrnl/se/token.c for the effective-only copy.
    """
    of = replace(identity_of(nt, token), kind=kind, level=level)
    if effective:
        useful = c.SE_GROUP_ENABLED | c.SE_GROUP_INTEGRITY | c.SE_GROUP_USE_FOR_DENY_ONLY
        groups = tuple((sid, bits) for sid, bits in of.groups if bits & useful)
        names = [of.user, *(sid for sid, _ in of.groups)]
        kept = [of.user, *(sid for sid, _ in groups)]
        own = names[of.owner_index]
        index = kept.index(own) if own in kept else 0
        of = replace(of, groups=groups, present=of.enabled, owner_index=index)
    made = sep_create_token(nt, of, token._v.ParentTokenId_LowPart)
    if made:
        made._v.ModifiedId_LowPart = token._v.ModifiedId_LowPart
    return made


def sep_delete_token(nt: Kernel, body: int) -> None:
    """The last reference to a token is gone."""
    v = TOKEN.at(nt.mmu, body)._v
    if v.DynamicPart:
        nt.free_pool(v.DynamicPart)


def sid_bytes(nt: Kernel, at: int) -> bytes:
    """The bytes of the SID at an address."""
    return nt.mmu.read(at, sid_length(nt, at))
