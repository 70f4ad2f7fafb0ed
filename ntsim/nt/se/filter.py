"""Tokens with less in them: SeFilterToken.

Source: ntifs.h SeFilterToken; Win32 CreateRestrictedToken.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import se as c
from ntsim.abi.scalars import NTSTATUS, PVOID, ULONG
from ntsim.abi.se import TOKEN
from ntsim.nt.exports import Out, export
from ntsim.nt.rtl.sid import Sid
from ntsim.nt.se import well_known as w
from ntsim.nt.se.token import (
    TOKEN_SANDBOX_INERT,
    TOKEN_WRITE_RESTRICTED,
    filtered,
    identity_of,
    read_entries,
    sep_create_token,
)

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

VALID_FLAGS = c.DISABLE_MAX_PRIVILEGE | c.SANDBOX_INERT | c.LUA_TOKEN | c.WRITE_RESTRICTED
RESTRICTED_BITS = (
    c.SE_GROUP_MANDATORY | c.SE_GROUP_ENABLED_BY_DEFAULT | c.SE_GROUP_ENABLED
)  # fmt: skip


def sep_filter_token(
    nt: Kernel, token: Any, flags: int, disable: list[Sid], remove: list[int], restrict: list[Sid]
) -> Any:
    """A new token: SIDs for denying only, privileges gone, restricting SIDs added."""
    of = identity_of(nt, token)
    if flags & c.LUA_TOKEN:
        of = filtered(of)
    kept = of.present
    if flags & c.DISABLE_MAX_PRIVILEGE:
        kept &= w.luids("ChangeNotify")
    for privilege in remove:
        kept &= ~(1 << privilege)
    deny = c.SE_GROUP_USE_FOR_DENY_ONLY
    useless = c.SE_GROUP_ENABLED | c.SE_GROUP_ENABLED_BY_DEFAULT | c.SE_GROUP_OWNER
    groups = tuple(
        (sid, bits & ~useless | deny) if sid in disable else (sid, bits) for sid, bits in of.groups
    )
    already = {sid for sid, _ in of.restricted}
    if already:
        added = tuple((sid, bits) for sid, bits in of.restricted if sid in restrict or not restrict)
    else:
        added = tuple((sid, RESTRICTED_BITS) for sid in restrict)
    more = TOKEN_SANDBOX_INERT if flags & c.SANDBOX_INERT else 0
    more |= TOKEN_WRITE_RESTRICTED if flags & c.WRITE_RESTRICTED else 0
    user = of.user_attributes | (deny if of.user in disable else 0)
    own = of.owner_index
    if own and groups[own - 1][1] & deny:
        own = 0
    of = replace(
        of, groups=groups, present=kept, enabled=of.enabled & kept, owner_index=own,
        enabled_by_default=of.enabled_by_default & kept, restricted=added, flags=of.flags | more,
        user_attributes=user,
    )  # fmt: skip
    return sep_create_token(nt, of, token._v.TokenId_LowPart)


def read_groups(nt: Kernel, address: int) -> list[Sid]:
    """The SIDs of a TOKEN_GROUPS, none at NULL."""
    if not address:
        return []
    count = int.from_bytes(nt.mmu.read(address, 4), "little")
    return [sid for sid, _ in read_entries(nt, address + 8, count)]


def read_privileges(nt: Kernel, address: int) -> list[tuple[int, int]]:
    """(LUID, attributes) of a TOKEN_PRIVILEGES, none at NULL."""
    if not address:
        return []
    count = int.from_bytes(nt.mmu.read(address, 4), "little")
    data = nt.mmu.read(address + 4, 12 * count) if count else b""
    return [(luid, bits) for luid, bits in struct.iter_unpack("<QI", data)]


@export(irql="<= APC")
def SeFilterToken(
    nt: Kernel,
    ExistingToken: PVOID,
    Flags: ULONG,
    SidsToDisable: PVOID,
    PrivilegesToDelete: PVOID,
    RestrictedSids: PVOID,
    FilteredToken: Out[PVOID],
) -> NTSTATUS:
    """A restricted copy of a token; an unknown flag is STATUS_INVALID_PARAMETER.

    DISABLE_MAX_PRIVILEGE leaves SeChangeNotifyPrivilege; LUA_TOKEN makes of an administrator what
    UAC runs programs as. Source: ntifs.h SeFilterToken; Win32 CreateRestrictedToken.
    """
    if Flags & ~VALID_FLAGS:
        return ntstatus.STATUS_INVALID_PARAMETER
    remove = [luid for luid, _ in read_privileges(nt, PrivilegesToDelete)]
    made = sep_filter_token(
        nt, TOKEN.at(nt.mmu, ExistingToken), Flags, read_groups(nt, SidsToDisable), remove,
        read_groups(nt, RestrictedSids),
    )  # fmt: skip
    if not made:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    FilteredToken[0] = int(made)
    return ntstatus.STATUS_SUCCESS
