"""What a token says, for drivers and for NtQueryInformationToken.

Source: WDK SeQueryInformationToken, SeTokenIsAdmin; Win32 TOKEN_INFORMATION_CLASS; ReactOS
ntoskrnl/se/token.c and kmtests SeQueryInfoToken.c.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import se as c
from ntsim.abi.scalars import BOOLEAN, LONG, NTSTATUS, PVOID, ULONG
from ntsim.abi.se import TOKEN
from ntsim.nt.exports import Out, export
from ntsim.nt.se import well_known as w
from ntsim.nt.se.access_check import is_enabled
from ntsim.nt.se.token import (
    INTERACTIVE_LUID,
    NO_INTEGRITY,
    SYSTEM_LUID,
    TOKEN_IS_FILTERED,
    TOKEN_WRITE_RESTRICTED,
    default_dacl,
    entries,
    integrity_level,
    members,
    owner,
    primary_group,
    restricted_members,
)

if TYPE_CHECKING:
    from ntsim.abi.rtl import PLUID
    from ntsim.abi.se import PSID_AND_ATTRIBUTES
    from ntsim.nt.kernel import Kernel

ELEVATION_FULL, ELEVATION_LIMITED, ELEVATION_DEFAULT = 2, 3, 1


def luid(v: Any, field: str) -> bytes:
    low, high = getattr(v, field + "_LowPart"), getattr(v, field + "_HighPart")
    return struct.pack("<Ii", low, high)


def privileges(token: Any) -> list[tuple[int, int]]:
    """(LUID, SE_PRIVILEGE_ bits) of every privilege in a token."""
    v = token._v
    made = []
    for value in range(64):
        if v.Privileges_Present >> value & 1:
            bits = v.Privileges_EnabledByDefault >> value & 1
            made.append((value, bits | (v.Privileges_Enabled >> value & 1) * 2))
    return made


def privilege_entries(token: Any) -> bytes:
    """TOKEN_PRIVILEGES."""
    found = privileges(token)
    return struct.pack("<I", len(found)) + b"".join(struct.pack("<QI", *each) for each in found)


def elevation_type(nt: Kernel, token: Any) -> int:
    """TOKEN_ELEVATION_TYPE: default for a user who has no other token."""
    if token._v.TokenFlags & TOKEN_IS_FILTERED:
        return ELEVATION_LIMITED
    level = integrity_level(nt, token)
    return ELEVATION_FULL if level == w.HIGH and is_administrator(nt, token) else ELEVATION_DEFAULT


def is_administrator(nt: Kernel, token: Any) -> bool:
    """Whether the Administrators group is in a token and counts."""
    return any(sid == w.ADMINISTRATORS and is_enabled(bits) for sid, bits in members(nt, token))


def groups(found: list[Any], at: int) -> bytes:
    """TOKEN_GROUPS at an address."""
    return struct.pack("<II", len(found), 0) + entries(found, at + 8)


def one_sid(sid: Any, at: int) -> bytes:
    """A pointer to a SID that follows it."""
    return struct.pack("<Q", at + 8) + bytes(sid)


def dacl(nt: Kernel, token: Any, at: int) -> bytes:
    data = default_dacl(nt, token)
    return struct.pack("<Q", at + 8 if data else 0) + data


def statistics(nt: Kernel, token: Any) -> bytes:
    """TOKEN_STATISTICS."""
    v = token._v
    return (
        luid(v, "TokenId") + luid(v, "AuthenticationId")
        + struct.pack("<qII", v.ExpirationTime, v.TokenType, v.ImpersonationLevel)
        + struct.pack("<II", v.DynamicCharged, v.DynamicAvailable)
        + struct.pack("<II", v.UserAndGroupCount - 1, len(privileges(token)))
        + luid(v, "ModifiedId")
    )  # fmt: skip


def integrity(nt: Kernel, token: Any, at: int) -> bytes:
    """TOKEN_MANDATORY_LABEL."""
    index = token._v.IntegrityLevelIndex
    found = members(nt, token)[index] if index != NO_INTEGRITY else (w.integrity(w.LOW), 0x60)
    return entries([found], at)


ANSWERS: dict[int, Callable[[Any, Any, int], bytes]] = {
    c.TokenUser: lambda nt, t, at: entries(members(nt, t)[:1], at),
    c.TokenGroups: lambda nt, t, at: groups(members(nt, t)[1:], at),
    c.TokenPrivileges: lambda nt, t, at: privilege_entries(t),
    c.TokenOwner: lambda nt, t, at: one_sid(owner(nt, t), at),
    c.TokenPrimaryGroup: lambda nt, t, at: one_sid(primary_group(nt, t), at),
    c.TokenDefaultDacl: dacl,
    c.TokenSource: lambda nt, t, at: nt.mmu.read(int(t), 0x10),
    c.TokenType: lambda nt, t, at: struct.pack("<I", t._v.TokenType),
    c.TokenImpersonationLevel: lambda nt, t, at: struct.pack("<I", t._v.ImpersonationLevel),
    c.TokenStatistics: lambda nt, t, at: statistics(nt, t),
    c.TokenRestrictedSids: lambda nt, t, at: groups(restricted_members(nt, t), at),
    c.TokenSessionId: lambda nt, t, at: struct.pack("<I", t._v.SessionId),
    c.TokenElevationType: lambda nt, t, at: struct.pack("<I", elevation_type(nt, t)),
    c.TokenElevation: lambda nt, t, at: struct.pack("<I", is_administrator(nt, t)),
    c.TokenHasRestrictions: lambda nt, t, at: struct.pack("<I", bool(t._v.RestrictedSidCount)),
    c.TokenIntegrityLevel: integrity,
    c.TokenUIAccess: lambda nt, t, at: struct.pack("<I", 0),
    c.TokenMandatoryPolicy: lambda nt, t, at: struct.pack("<I", t._v.MandatoryPolicy),
}
"""What NtQueryInformationToken answers; SeQueryInformationToken puts numbers in the pointer."""

AS_NUMBER = (c.TokenSessionId, c.TokenIntegrityLevel, c.TokenUIAccess)
"""Classes for which SeQueryInformationToken stores a ULONG where others get a pointer."""

KERNEL_CLASSES = (
    c.TokenUser, c.TokenGroups, c.TokenPrivileges, c.TokenOwner, c.TokenPrimaryGroup,
    c.TokenDefaultDacl, c.TokenSource, c.TokenType, c.TokenImpersonationLevel, c.TokenStatistics,
    c.TokenSessionId, c.TokenIntegrityLevel, c.TokenElevation, c.TokenElevationType,
)  # fmt: skip


def sep_query(nt: Kernel, token: Any, kind: int, at: int) -> bytes | None:
    """The answer to a class as it would lie at address `at`; None for an unknown class.

    An impersonation level is a question for impersonation tokens only: the caller checks.
    """
    answer = ANSWERS.get(kind)
    return None if answer is None else answer(nt, token, at)


@export(irql="== PASSIVE")
def SeQueryInformationToken(
    nt: Kernel, Token: PVOID, TokenInformationClass: ULONG, TokenInformation: Out[PVOID]
) -> NTSTATUS:
    """A block of paged pool with the answer, which the caller frees with ExFreePool.

    Session id, integrity level and UI access are no blocks: a ULONG is stored in
    *TokenInformation. Elevation is a block: a signed driver of a hardware vendor frees it.
    Another class is STATUS_INVALID_INFO_CLASS, the impersonation level of a primary token
    STATUS_INVALID_PARAMETER. Source: WDK SeQueryInformationToken; ReactOS kmtests
    SeQueryInfoToken.c.
    """
    token = TOKEN.at(nt.mmu, Token)
    TokenInformation[0] = 0
    if TokenInformationClass == c.TokenIntegrityLevel:
        TokenInformation[0] = integrity_level(nt, token)
        return ntstatus.STATUS_SUCCESS
    if TokenInformationClass not in KERNEL_CLASSES:
        return ntstatus.STATUS_INVALID_INFO_CLASS
    impersonating = token._v.TokenType == c.TokenImpersonation
    if TokenInformationClass == c.TokenImpersonationLevel and not impersonating:
        return ntstatus.STATUS_INVALID_PARAMETER
    data = sep_query(nt, token, TokenInformationClass, 0)
    assert data is not None
    if TokenInformationClass in AS_NUMBER:
        TokenInformation[0] = int.from_bytes(data, "little")
        return ntstatus.STATUS_SUCCESS
    block = nt.ex.pool.allocate(len(data), "SeTi", paged=True)
    if not block:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    nt.mmu.write(block, sep_query(nt, token, TokenInformationClass, block) or b"")
    TokenInformation[0] = block
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def SeTokenIsAdmin(nt: Kernel, Token: PVOID) -> BOOLEAN:
    """TRUE if the Administrators group is in the token, enabled. Source: ntifs.h SeTokenIsAdmin."""
    return is_administrator(nt, TOKEN.at(nt.mmu, Token))


@export(irql="== PASSIVE")
def SeTokenIsRestricted(nt: Kernel, Token: PVOID) -> BOOLEAN:
    """TRUE if the token has restricting SIDs. Source: ntifs.h SeTokenIsRestricted."""
    return bool(TOKEN.at(nt.mmu, Token)._v.RestrictedSidCount)


@export(irql="== PASSIVE")
def SeTokenIsWriteRestricted(nt: Kernel, Token: PVOID) -> BOOLEAN:
    """TRUE if the restricting SIDs count for writing only. Source: ntifs.h."""
    return bool(TOKEN.at(nt.mmu, Token)._v.TokenFlags & TOKEN_WRITE_RESTRICTED)


@export(irql="<= APC")
def SeTokenType(nt: Kernel, Token: PVOID) -> LONG:
    """TokenPrimary or TokenImpersonation. Source: ntifs.h SeTokenType."""
    kind: int = TOKEN.at(nt.mmu, Token)._v.TokenType
    return kind


@export(irql="<= APC")
def SeTokenImpersonationLevel(nt: Kernel, Token: PVOID) -> ULONG:
    """The impersonation level. Exported, undocumented. Source: ReactOS ntoskrnl/se/token.c."""
    level: int = TOKEN.at(nt.mmu, Token)._v.ImpersonationLevel
    return level


@export(irql="== PASSIVE")
def SeQueryAuthenticationIdToken(nt: Kernel, Token: PVOID, AuthenticationId: PLUID) -> NTSTATUS:
    """The logon session: 0x3E7 for LocalSystem. Source: ntifs.h."""
    nt.mmu.write(int(AuthenticationId), nt.mmu.read(Token + 0x18, 8))
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def SeQuerySessionIdToken(nt: Kernel, Token: PVOID, SessionId: Out[ULONG]) -> NTSTATUS:
    """The terminal session: 0 for services, 1 for the user at the console. Source: ntifs.h."""
    SessionId[0] = TOKEN.at(nt.mmu, Token)._v.SessionId
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def SeQueryTokenIntegrity(nt: Kernel, Token: PVOID, IntegritySA: PSID_AND_ATTRIBUTES) -> None:
    """Where the integrity label's SID lies, and its attributes. Source: ntifs.h."""
    v = TOKEN.at(nt.mmu, Token)._v
    index = v.IntegrityLevelIndex
    at = v.UserAndGroups + 16 * index
    data = bytes(16) if index == NO_INTEGRITY else nt.mmu.read(at, 16)
    nt.mmu.write(int(IntegritySA), data)


@export(irql="== PASSIVE")
def SeMarkLogonSessionForTerminationNotification(nt: Kernel, LogonId: PLUID) -> NTSTATUS:
    """Ask to hear when a logon session ends; STATUS_NOT_FOUND for one that does not exist.

    No session of the simulated machine ends while it runs. Source: ntifs.h.
    """
    if LogonId.HighPart or LogonId.LowPart not in (SYSTEM_LUID, INTERACTIVE_LUID):
        return ntstatus.STATUS_NOT_FOUND
    return ntstatus.STATUS_SUCCESS
