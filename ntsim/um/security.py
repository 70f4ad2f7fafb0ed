"""Tokens: what an app may do, and how it does less.

A process runs as an elevated administrator. `CreateRestrictedToken(token, LUA_TOKEN, ...)` makes of
its token the one a standard user's program has; a thread that impersonates it opens devices as that
user. Source: Win32 pages of the functions; pywin32's win32security for the signatures.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from ntsim.abi import se as c
from ntsim.abi import winerror
from ntsim.abi.winnt_constants import SecurityImpersonation
from ntsim.nt.rtl.sid import Sid
from ntsim.nt.se.token import entries
from ntsim.nt.se.well_known import LUIDS, sid
from ntsim.um import kernelbase, ntdll
from ntsim.um import thread as t
from ntsim.um.current import PyHANDLE, current_user, handle_value
from ntsim.um.errors import status_error, win32_error

CURRENT_THREAD = (1 << 64) - 2
IMPERSONATION_TOKEN = 5
NOT_ALL_ASSIGNED = 0x106
ROOM = 0x400
_NUMBERS = {
    c.TokenType, c.TokenImpersonationLevel, c.TokenSessionId, c.TokenElevationType,
    c.TokenElevation, c.TokenHasRestrictions, c.TokenUIAccess, c.TokenMandatoryPolicy,
}  # fmt: skip


def _new_token(funcname: str, service: str, *arguments: int) -> PyHANDLE:
    """Call a service whose last argument receives a token's handle."""
    user = current_user(funcname)
    status = getattr(ntdll, service)(*arguments, user.scratch + t.RESULT)
    if status >> 30 == 3:
        raise status_error(user, funcname, status)
    return PyHANDLE(user.number(t.RESULT))


def OpenProcessToken(process: Any, access: int) -> PyHANDLE:
    """A process's token."""
    handle = handle_value(process, "OpenProcessToken")
    return _new_token("OpenProcessToken", "NtOpenProcessToken", handle, access & 0xFFFF_FFFF)


def OpenThreadToken(thread: Any, access: int, as_self: Any) -> PyHANDLE:
    """The token a thread impersonates; ERROR_NO_TOKEN (1008) if it does not."""
    handle = handle_value(thread, "OpenThreadToken")
    return _new_token(
        "OpenThreadToken", "NtOpenThreadTokenEx", handle, access & 0xFFFF_FFFF,
        int(bool(as_self)), 0,
    )  # fmt: skip


def DuplicateTokenEx(
    token: Any, level: int, access: int, kind: int, attributes: Any = None
) -> PyHANDLE:
    """A copy of a token: `kind` TokenPrimary or TokenImpersonation at `level`."""
    user = current_user("DuplicateTokenEx")
    qos = user.put(t.STRUCTURE, struct.pack("<IIBBxx", 0xC, level, 1, 0))
    made = user.put(t.ATTRIBUTES, struct.pack("<QQQQQQ", 0x30, 0, 0, 0, 0, qos))
    return _new_token(
        "DuplicateTokenEx", "NtDuplicateToken", handle_value(token, "DuplicateTokenEx"),
        access & 0xFFFF_FFFF, made, 0, kind,
    )  # fmt: skip


def _groups(user: Any, listed: Sequence[Any] | None, funcname: str) -> int:
    """TOKEN_GROUPS of (SID text, attributes) on the heap; 0 for none."""
    if not listed:
        return 0
    found: list[tuple[Sid, int]] = []
    for text, attributes in listed:
        known = sid(text)
        if known is None:
            raise win32_error(user, funcname, winerror.ERROR_INVALID_SID)
        found.append((known, attributes))
    at = user.process.heap.allocate(8 + len(entries(found, 0)))
    user.mmu.write(at, struct.pack("<II", len(found), 0) + entries(found, at + 8))
    return int(at)


def _privileges(user: Any, listed: Sequence[tuple[int, int]] | None) -> int:
    """TOKEN_PRIVILEGES on the heap; 0 for none."""
    if not listed:
        return 0
    data = struct.pack("<I", len(listed)) + b"".join(struct.pack("<QI", *e) for e in listed)
    at = user.process.heap.allocate(len(data))
    user.mmu.write(at, data)
    return int(at)


def CreateRestrictedToken(
    token: Any,
    flags: int,
    disable: Sequence[Any] | None = None,
    delete: Sequence[tuple[int, int]] | None = None,
    restrict: Sequence[Any] | None = None,
) -> PyHANDLE:
    """A token with less in it; SIDs are written S-1-..., as (SID, attributes).

    LUA_TOKEN makes of an elevated administrator a standard user.
    """
    user = current_user("CreateRestrictedToken")
    blocks = [
        _groups(user, disable, "CreateRestrictedToken"),
        _privileges(user, delete),
        _groups(user, restrict, "CreateRestrictedToken"),
    ]
    try:
        return _new_token(
            "CreateRestrictedToken", "NtFilterToken",
            handle_value(token, "CreateRestrictedToken"), flags, *blocks,
        )  # fmt: skip
    finally:
        for block in blocks:
            if block:
                user.process.heap.free(block)


def SetThreadToken(thread: Any, token: Any) -> None:
    """Let a thread, None: this one, impersonate; token None: be itself again."""
    user = current_user("SetThreadToken")
    handle = CURRENT_THREAD if thread is None else handle_value(thread, "SetThreadToken")
    value = 0 if token is None else handle_value(token, "SetThreadToken")
    status = kernelbase.set_thread_information(
        handle, IMPERSONATION_TOKEN, value.to_bytes(8, "little")
    )
    if status >> 30 == 3:
        raise status_error(user, "SetThreadToken", status)


def ImpersonateLoggedOnUser(token: Any) -> None:
    """Let this thread act as the token's user."""
    current_user("ImpersonateLoggedOnUser")
    copy = DuplicateTokenEx(token, SecurityImpersonation, 0xF_01FF, c.TokenImpersonation)
    SetThreadToken(None, copy)
    copy.Close()


def RevertToSelf() -> None:
    """This thread is its process's user again."""
    SetThreadToken(None, None)


def LookupPrivilegeValue(system: Any, name: str) -> int:
    """The LUID of `SeDebugPrivilege`; ERROR_NO_SUCH_PRIVILEGE (1313) if there is none."""
    user = current_user("LookupPrivilegeValue")
    value = LUIDS.get(name.removeprefix("Se").removesuffix("Privilege"))
    if value is None or not (name.startswith("Se") and name.endswith("Privilege")):
        raise win32_error(user, "LookupPrivilegeValue", winerror.ERROR_NO_SUCH_PRIVILEGE)
    return value


def AdjustTokenPrivileges(
    token: Any, disable_all: Any, new_state: Sequence[tuple[int, int]]
) -> tuple[tuple[int, int], ...]:
    """Enable or disable privileges; those that changed, as they were.

    The last error is ERROR_NOT_ALL_ASSIGNED (1300) if the token lacks one, else 0.
    """
    user = current_user("AdjustTokenPrivileges")
    listed = _privileges(user, new_state)
    old = user.process.heap.allocate(ROOM)
    status = ntdll.NtAdjustPrivilegesToken(
        handle_value(token, "AdjustTokenPrivileges"), int(bool(disable_all)), listed, ROOM, old,
        user.scratch + t.RESULT,
    )  # fmt: skip
    data = user.mmu.read(old, ROOM)
    for block in (old, listed):
        if block:
            user.process.heap.free(block)
    if status >> 30 == 3:
        raise status_error(user, "AdjustTokenPrivileges", status)
    unassigned = status == NOT_ALL_ASSIGNED
    user.last_error = winerror.ERROR_NOT_ALL_ASSIGNED if unassigned else 0
    count = int.from_bytes(data[:4], "little")
    return tuple(struct.iter_unpack("<QI", data[4 : 4 + 12 * count]))


def GetTokenInformation(token: Any, kind: int) -> Any:
    """What a token says: a number, (SID text, attributes), or a tuple of those or of (LUID, bits).

    The classes are TokenUser, TokenGroups, TokenPrivileges, TokenOwner, TokenPrimaryGroup,
    TokenIntegrityLevel and those that are numbers; another is ERROR_INVALID_PARAMETER (87).
    """
    user = current_user("GetTokenInformation")
    at = user.process.heap.allocate(ROOM)
    status = ntdll.NtQueryInformationToken(
        handle_value(token, "GetTokenInformation"), kind, at, ROOM, user.scratch + t.RESULT
    )
    try:
        if status >> 30 == 3:
            raise status_error(user, "GetTokenInformation", status)
        return _token_answer(user, kind, at)
    finally:
        user.process.heap.free(at)


def _token_answer(user: Any, kind: int, at: int) -> Any:
    """The structure at `at` as Python values."""
    data = user.mmu.read(at, ROOM)
    count = int.from_bytes(data[:4], "little")
    if kind in _NUMBERS:
        return count
    if kind == c.TokenPrivileges:
        return tuple(struct.iter_unpack("<QI", data[4 : 4 + 12 * count]))
    if kind in (c.TokenOwner, c.TokenPrimaryGroup):
        return str(_sid_at(data, int.from_bytes(data[:8], "little") - at))
    if kind in (c.TokenUser, c.TokenIntegrityLevel):
        return _members(data, at, 0, 1)[0]
    if kind in (c.TokenGroups, c.TokenRestrictedSids):
        return _members(data, at, 8, count)
    raise win32_error(user, "GetTokenInformation", winerror.ERROR_INVALID_PARAMETER)


def _members(data: bytes, at: int, offset: int, count: int) -> tuple[tuple[str, int], ...]:
    found = struct.iter_unpack("<QII", data[offset : offset + 16 * count])
    return tuple((str(_sid_at(data, where - at)), bits) for where, bits, _ in found)


def _sid_at(data: bytes, offset: int) -> Sid:
    count = data[offset + 1]
    values = struct.unpack(f"<{count}I", data[offset + 8 : offset + 8 + 4 * count])
    return Sid(int.from_bytes(data[offset + 2 : offset + 8], "big"), values)
