"""Tokens by handle. Source: WDK ZwOpenProcessTokenEx, ZwQueryInformationToken, ZwDuplicateToken;
Win32 CreateRestrictedToken, AdjustTokenPrivileges; winsiderss/phnt for the Nt names."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi import se as c
from ntsim.abi.scalars import ACCESS_MASK, BOOLEAN, HANDLE, NTSTATUS, PVOID, ULONG
from ntsim.abi.se import TOKEN
from ntsim.abi.winnt_constants import SecurityDelegation, SecurityImpersonation
from ntsim.nt.ex.arguments import (
    in_kernel_mode,
    read_argument,
    read_number,
    system_service,
    write_number,
    write_result,
)
from ntsim.nt.exports import Out, export
from ntsim.nt.ob.handles import map_generic, ob_reference_by_handle
from ntsim.nt.ob.insert import ob_insert_handle
from ntsim.nt.se.filter import read_groups, read_privileges, sep_filter_token
from ntsim.nt.se.query import sep_query
from ntsim.nt.se.subject import impersonated
from ntsim.nt.se.token import sep_duplicate_token

if TYPE_CHECKING:
    from ntsim.abi.rtl import POBJECT_ATTRIBUTES
    from ntsim.nt.kernel import Kernel

PROCESS_QUERY, THREAD_QUERY = 0x1000, 0x40
TOKEN_DUPLICATE, TOKEN_QUERY, TOKEN_ADJUST_PRIVILEGES = 2, 8, 0x20
GENERIC_TOKEN = (0x2_0008, 0x2_00E0, 0x2_0005, 0xF_01FF)
QOS_LEVEL = 4


def token_of_handle(nt: Kernel, handle: int, access: int) -> tuple[int, int]:
    """(status, body) of a token handle; referenced on success."""
    mode = nt.thread.v.PreviousMode
    status, body, _ = ob_reference_by_handle(nt, handle, access, nt.se.token_type, mode)
    return status, body


def insert_token(nt: Kernel, body: int, access: int, attributes: int) -> int:
    """A handle to a token."""
    return ob_insert_handle(nt, body, map_generic(access, GENERIC_TOKEN), attributes)


@system_service
def NtOpenProcessTokenEx(
    nt: Kernel,
    ProcessHandle: HANDLE,
    DesiredAccess: ACCESS_MASK,
    HandleAttributes: ULONG,
    TokenHandle: PVOID,
) -> NTSTATUS:
    """A handle to a process's primary token. Source: WDK ZwOpenProcessTokenEx."""
    mode, kind = nt.thread.v.PreviousMode, nt.ps.process_type
    status, body, _ = ob_reference_by_handle(nt, ProcessHandle, PROCESS_QUERY, kind, mode)
    if status:
        return status
    token = int(nt.se.primary(body))
    write_number(nt, TokenHandle, insert_token(nt, token, DesiredAccess, HandleAttributes))
    nt.ob.dereference(body)
    return status


def NtOpenProcessToken(
    nt: Kernel, ProcessHandle: HANDLE, DesiredAccess: ACCESS_MASK, TokenHandle: PVOID
) -> NTSTATUS:
    """NtOpenProcessTokenEx without attributes."""
    return NtOpenProcessTokenEx(nt, ProcessHandle, DesiredAccess, 0, TokenHandle)


@system_service
def NtOpenThreadTokenEx(
    nt: Kernel,
    ThreadHandle: HANDLE,
    DesiredAccess: ACCESS_MASK,
    OpenAsSelf: BOOLEAN,
    HandleAttributes: ULONG,
    TokenHandle: PVOID,
) -> NTSTATUS:
    """A handle to the token a thread impersonates; STATUS_NO_TOKEN if it does not.

    Source: WDK ZwOpenThreadTokenEx.
    """
    mode, kind = nt.thread.v.PreviousMode, nt.ps.thread_type
    status, body, _ = ob_reference_by_handle(nt, ThreadHandle, THREAD_QUERY, kind, mode)
    if status:
        return status
    token, level, _ = impersonated(nt, body)
    nt.ob.dereference(body)
    if not token:
        return ntstatus.STATUS_NO_TOKEN
    if not level:
        return ntstatus.STATUS_CANT_OPEN_ANONYMOUS
    write_number(nt, TokenHandle, insert_token(nt, token, DesiredAccess, HandleAttributes))
    return status


@system_service
def NtQueryInformationToken(
    nt: Kernel,
    TokenHandle: HANDLE,
    TokenInformationClass: ULONG,
    TokenInformation: PVOID,
    TokenInformationLength: ULONG,
    ReturnLength: PVOID,
) -> NTSTATUS:
    """What a token says; too little room is STATUS_BUFFER_TOO_SMALL with the size.

    The source wants TOKEN_QUERY_SOURCE. Source: WDK ZwQueryInformationToken.
    """
    access = 0x10 if TokenInformationClass == c.TokenSource else TOKEN_QUERY
    status, body = token_of_handle(nt, TokenHandle, access)
    if status:
        return status
    token = TOKEN.at(nt.mmu, body)
    data = sep_query(nt, token, TokenInformationClass, TokenInformation)
    primary = token._v.TokenType == c.TokenPrimary
    nt.ob.dereference(body)
    if data is None:
        return ntstatus.STATUS_INVALID_INFO_CLASS
    if TokenInformationClass == c.TokenImpersonationLevel and primary:
        return ntstatus.STATUS_INVALID_INFO_CLASS
    write_number(nt, ReturnLength, len(data), 4)
    if TokenInformationLength < len(data):
        return ntstatus.STATUS_BUFFER_TOO_SMALL
    write_result(nt, TokenInformation, data)
    return status


@system_service
def NtDuplicateToken(
    nt: Kernel,
    ExistingTokenHandle: HANDLE,
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: PVOID,
    EffectiveOnly: BOOLEAN,
    TokenType: ULONG,
    NewTokenHandle: PVOID,
) -> NTSTATUS:
    """A copy, primary or for impersonation at the level in ObjectAttributes' quality of service.

    Without one the level is SecurityAnonymous. A level above the source's is
    STATUS_BAD_IMPERSONATION_LEVEL. Source: WDK ZwDuplicateToken.
    """
    if TokenType not in (c.TokenPrimary, c.TokenImpersonation):
        return ntstatus.STATUS_INVALID_PARAMETER
    level = 0
    if ObjectAttributes:
        qos = read_number(nt, ObjectAttributes + 0x28)
        level = read_number(nt, qos + QOS_LEVEL, 4) if qos else 0
    if level > SecurityDelegation:
        return ntstatus.STATUS_BAD_IMPERSONATION_LEVEL
    status, body = token_of_handle(nt, ExistingTokenHandle, TOKEN_DUPLICATE)
    if status:
        return status
    source = TOKEN.at(nt.mmu, body)
    v = source._v
    if v.TokenType == c.TokenImpersonation:
        too_high = level > v.ImpersonationLevel
        if TokenType == c.TokenPrimary:
            too_high = v.ImpersonationLevel < SecurityImpersonation
        if too_high:
            nt.ob.dereference(body)
            return ntstatus.STATUS_BAD_IMPERSONATION_LEVEL
    made = sep_duplicate_token(nt, source, TokenType, level, bool(EffectiveOnly))
    nt.ob.dereference(body)
    if not made:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    write_number(nt, NewTokenHandle, insert_token(nt, int(made), DesiredAccess, 0))
    nt.ob.dereference(int(made))
    return status


@system_service
def NtFilterToken(
    nt: Kernel,
    ExistingTokenHandle: HANDLE,
    Flags: ULONG,
    SidsToDisable: PVOID,
    PrivilegesToDelete: PVOID,
    RestrictedSids: PVOID,
    NewTokenHandle: PVOID,
) -> NTSTATUS:
    """A restricted copy of a token, with the same rights on the new handle. Source: phnt."""
    if Flags & ~0xF:
        return ntstatus.STATUS_INVALID_PARAMETER
    status, body = token_of_handle(nt, ExistingTokenHandle, TOKEN_DUPLICATE)
    if status:
        return status
    remove = [luid for luid, _ in read_privileges(nt, PrivilegesToDelete)]
    made = sep_filter_token(
        nt, TOKEN.at(nt.mmu, body), Flags, read_groups(nt, SidsToDisable), remove,
        read_groups(nt, RestrictedSids),
    )  # fmt: skip
    nt.ob.dereference(body)
    if not made:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    write_number(nt, NewTokenHandle, insert_token(nt, int(made), 0xF_01FF, 0))
    nt.ob.dereference(int(made))
    return status


@system_service
def NtAdjustPrivilegesToken(
    nt: Kernel,
    TokenHandle: HANDLE,
    DisableAllPrivileges: BOOLEAN,
    NewState: PVOID,
    BufferLength: ULONG,
    PreviousState: PVOID,
    ReturnLength: PVOID,
) -> NTSTATUS:
    """Enable, disable or remove privileges; STATUS_NOT_ALL_ASSIGNED if the token lacks one.

    Source: Win32 AdjustTokenPrivileges.
    """
    status, body = token_of_handle(nt, TokenHandle, TOKEN_ADJUST_PRIVILEGES)
    if status:
        return status
    v = TOKEN.at(nt.mmu, body)._v
    before = v.Privileges_Enabled
    missing = False
    if DisableAllPrivileges:
        v.Privileges_Enabled = 0
    else:
        count = read_number(nt, NewState, 4)
        data = read_argument(nt, NewState + 4, 12 * count) if count else b""
        for luid, attributes in struct.iter_unpack("<QI", data):
            bit = 1 << luid if luid < 64 else 0
            if not v.Privileges_Present & bit:
                missing = True
                continue
            on = attributes & c.SE_PRIVILEGE_ENABLED and not attributes & c.SE_PRIVILEGE_REMOVED
            v.Privileges_Enabled = v.Privileges_Enabled & ~bit | (bit if on else 0)
            if attributes & c.SE_PRIVILEGE_REMOVED:
                v.Privileges_Present &= ~bit
    changed = before ^ v.Privileges_Enabled
    entries = [
        (luid, 2 if before >> luid & 1 else 0) for luid in range(64) if changed >> luid & 1
    ]
    if changed:
        v.ModifiedId_LowPart = nt.se.new_luid()
    nt.ob.dereference(body)
    if PreviousState:
        old = struct.pack("<I", len(entries)) + b"".join(struct.pack("<QI", *e) for e in entries)
        write_number(nt, ReturnLength, len(old), 4)
        if len(old) > BufferLength:
            return ntstatus.STATUS_BUFFER_TOO_SMALL
        write_result(nt, PreviousState, old)
    return ntstatus.STATUS_NOT_ALL_ASSIGNED if missing else ntstatus.STATUS_SUCCESS


# As drivers call them


@export(irql="== PASSIVE")
def ZwOpenProcessTokenEx(
    nt: Kernel,
    ProcessHandle: HANDLE,
    DesiredAccess: ACCESS_MASK,
    HandleAttributes: ULONG,
    TokenHandle: Out[HANDLE],
) -> NTSTATUS:
    """A handle to a process's token. Source: WDK ZwOpenProcessTokenEx."""
    kind = nt.ps.process_type
    status, body, _ = ob_reference_by_handle(nt, ProcessHandle, 0, kind, 0)
    if status:
        return status
    token = int(nt.se.primary(body))
    TokenHandle[0] = insert_token(nt, token, DesiredAccess, HandleAttributes)
    nt.ob.dereference(body)
    return status


@export(irql="== PASSIVE")
def ZwOpenProcessToken(
    nt: Kernel, ProcessHandle: HANDLE, DesiredAccess: ACCESS_MASK, TokenHandle: Out[HANDLE]
) -> NTSTATUS:
    """ZwOpenProcessTokenEx without attributes: the handle is the current process's."""
    return ZwOpenProcessTokenEx(nt, ProcessHandle, DesiredAccess, 0, TokenHandle)


@export(irql="== PASSIVE")
def ZwOpenThreadTokenEx(
    nt: Kernel,
    ThreadHandle: HANDLE,
    DesiredAccess: ACCESS_MASK,
    OpenAsSelf: BOOLEAN,
    HandleAttributes: ULONG,
    TokenHandle: Out[HANDLE],
) -> NTSTATUS:
    """A handle to the token a thread impersonates; STATUS_NO_TOKEN if it does not. Source: WDK."""
    kind = nt.ps.thread_type
    status, body, _ = ob_reference_by_handle(nt, ThreadHandle, 0, kind, 0)
    if status:
        return status
    token, _, _ = impersonated(nt, body)
    nt.ob.dereference(body)
    if not token:
        return ntstatus.STATUS_NO_TOKEN
    TokenHandle[0] = insert_token(nt, token, DesiredAccess, HandleAttributes)
    return status


@export(irql="== PASSIVE")
def ZwQueryInformationToken(
    nt: Kernel,
    TokenHandle: HANDLE,
    TokenInformationClass: ULONG,
    TokenInformation: PVOID,
    TokenInformationLength: ULONG,
    ReturnLength: Out[ULONG],
) -> NTSTATUS:
    """What a token says, by its TOKEN_INFORMATION_CLASS. Source: WDK ZwQueryInformationToken."""
    status, body = token_of_handle(nt, TokenHandle, 0)
    if status:
        return status
    token = TOKEN.at(nt.mmu, body)
    data = sep_query(nt, token, TokenInformationClass, TokenInformation)
    nt.ob.dereference(body)
    if data is None:
        return ntstatus.STATUS_INVALID_INFO_CLASS
    ReturnLength[0] = len(data)
    if TokenInformationLength < len(data):
        return ntstatus.STATUS_BUFFER_TOO_SMALL
    nt.mmu.write(TokenInformation, data)
    return status


@export(irql="== PASSIVE")
def ZwDuplicateToken(
    nt: Kernel,
    ExistingTokenHandle: HANDLE,
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: POBJECT_ATTRIBUTES,
    EffectiveOnly: BOOLEAN,
    TokenType: ULONG,
    NewTokenHandle: Out[HANDLE],
) -> NTSTATUS:
    """A copy of a token. Source: WDK ZwDuplicateToken."""
    result = nt.allocate_pool(16, "SeTm")
    status = in_kernel_mode(
        nt, NtDuplicateToken, ExistingTokenHandle, DesiredAccess, int(ObjectAttributes),
        EffectiveOnly, TokenType, result,
    )  # fmt: skip
    if not status:
        NewTokenHandle[0] = nt.read_pointer(result)
    nt.free_pool(result)
    return status
