"""Tokens, privileges, subject contexts.

Source: WDK pages of the routines; ReactOS kmtests ntos_se/SeQueryInfoToken.c; Windows Internals 7,
part 1, chapter 7; Win32 "Well-known SIDs" and "Privilege Constants".
"""

import struct

import pytest

from ntsim import win32
from ntsim.wdm import *


def sid_text(sid: int) -> str:
    text = UNICODE_STRING()
    assert RtlConvertSidToUnicodeString(text, sid, TRUE) == 0
    found = read_bytes(text.Buffer, text.Length).decode("utf-16-le")
    RtlFreeUnicodeString(text)
    return found


def test_the_system_process_is_localsystem(value_of) -> None:
    def body() -> list:
        token = PsReferencePrimaryToken(PsGetCurrentProcess())
        status, user = SeQueryInformationToken(token, TokenUser)
        found = [status, sid_text(cast(user, TOKEN_USER).User.Sid), SeTokenIsAdmin(token)]
        found += [SeTokenType(token), SeTokenIsRestricted(token)]
        ExFreePool(user)
        status, groups = SeQueryInformationToken(token, TokenGroups)
        groups = cast(groups, TOKEN_GROUPS)
        array = cast(FIELD_OFFSET(TOKEN_GROUPS, "Groups") + int(groups), SID_AND_ATTRIBUTES)
        found += [[sid_text(array[i].Sid) for i in range(groups.GroupCount)]]
        ExFreePool(int(groups))
        PsDereferencePrimaryToken(token)
        return found

    assert value_of(body) == [
        0, "S-1-5-18", True, 1, False,
        ["S-1-5-32-544", "S-1-1-0", "S-1-5-11", "S-1-16-16384"],
    ]  # fmt: skip


def test_numbers_come_without_a_block(value_of) -> None:
    def body() -> list:
        token = PsReferencePrimaryToken(PsGetCurrentProcess())
        classes = (TokenSessionId, TokenIntegrityLevel)
        found = [SeQueryInformationToken(token, kind) for kind in classes]
        found.append(SeQueryInformationToken(token, TokenImpersonationLevel)[0])
        found.append(SeQueryInformationToken(token, 0)[0])
        found.append(SeQueryInformationToken(token, 1000)[0])
        PsDereferencePrimaryToken(token)
        return found

    assert value_of(body) == [
        (0, 0), (0, 0x4000),
        STATUS_INVALID_PARAMETER, STATUS_INVALID_INFO_CLASS, STATUS_INVALID_INFO_CLASS,
    ]  # fmt: skip


def test_elevation_comes_as_a_block_that_the_caller_frees(value_of) -> None:
    def body() -> list:
        token = PsReferencePrimaryToken(PsGetCurrentProcess())
        status, block = SeQueryInformationToken(token, TokenElevation)
        found = [status, read_bytes(block, 4)]
        ExFreePool(block)
        PsDereferencePrimaryToken(token)
        return found

    assert value_of(body) == [0, b"\1\0\0\0"]


def test_token_statistics_agree_with_the_bytes_of_the_token(value_of) -> None:
    def body() -> list:
        address = PsReferencePrimaryToken(PsGetCurrentProcess())
        token = cast(address, TOKEN)
        _, block = SeQueryInformationToken(address, TokenStatistics)
        s = cast(block, TOKEN_STATISTICS)
        present = bin(token.Privileges.Present).count("1")
        found = [s.TokenId.LowPart == token.TokenId.LowPart, s.PrivilegeCount == present]
        found += [s.GroupCount == token.UserAndGroupCount - 1, s.AuthenticationId.LowPart]
        found += [s.TokenType, read_bytes(address, 8)]
        luid = LUID()
        SeQueryAuthenticationIdToken(address, luid)
        found.append(luid.LowPart)
        ExFreePool(block)
        PsDereferencePrimaryToken(address)
        return found

    assert value_of(body) == [True, True, True, 0x3E7, 1, b"*SYSTEM*", 0x3E7]


def test_the_processs_pointer_to_its_token_keeps_references_in_its_low_bits(value_of) -> None:
    def body() -> list:
        token = PsReferencePrimaryToken(PsGetCurrentProcess())
        value = PsGetCurrentProcess().Token.Object
        PsDereferencePrimaryToken(token)
        return [value & ~15 == token, value & 15]

    assert value_of(body) == [True, 15]


def test_a_subject_context_holds_references_until_it_is_released(value_of) -> None:
    def body() -> list:
        context = SECURITY_SUBJECT_CONTEXT()
        SeCaptureSubjectContext(context)
        token = context.PrimaryToken
        count = ObReferenceObject(token)
        ObDereferenceObject(token)
        SeLockSubjectContext(context)
        disabled = KeAreApcsDisabled()
        SeUnlockSubjectContext(context)
        found = [context.ClientToken, SeQuerySubjectContextToken(context) == token, disabled]
        SeReleaseSubjectContext(context)
        after = ObReferenceObject(token)
        ObDereferenceObject(token)
        return [*found, context.PrimaryToken, KeAreApcsDisabled(), count - after]

    assert value_of(body) == [0, True, True, 0, False, 1]


def test_a_system_thread_has_what_localsystem_enables(value_of) -> None:
    def body() -> list:
        return [
            SeSinglePrivilegeCheck(SeExports.SeDebugPrivilege, UserMode),
            SeSinglePrivilegeCheck(SeExports.SeLoadDriverPrivilege, UserMode),
            SeSinglePrivilegeCheck(SeExports.SeLoadDriverPrivilege, KernelMode),
            SeSinglePrivilegeCheck(SE_TCB_PRIVILEGE, UserMode),
        ]

    assert value_of(body) == [True, False, True, True]


def test_a_privilege_check_marks_what_it_used(value_of) -> None:
    def body(control: int) -> list:
        required = cast(ExAllocatePoolWithTag(NonPagedPoolNx, 32, 1), PRIVILEGE_SET)
        write_bytes(required, struct.pack("<IIQIQI", 2, control, 20, 0, 10, 0))
        context = SECURITY_SUBJECT_CONTEXT()
        SeCaptureSubjectContext(context)
        found = SePrivilegeCheck(required, context, UserMode)
        SeReleaseSubjectContext(context)
        bits = struct.unpack("<IIQIQI", read_bytes(required, 32))
        return [found, hex(bits[3]), bits[5]]

    used = hex(SE_PRIVILEGE_USED_FOR_ACCESS)
    assert value_of(lambda: body(0)) == [True, used, 0]
    assert value_of(lambda: body(PRIVILEGE_SET_ALL_NECESSARY)) == [False, used, 0]


def test_seexports_names_privileges_and_sids(value_of) -> None:
    def body() -> list:
        names = ("World", "LocalSystem", "AliasAdmins", "NtAuthority", "MediumMandatory")
        sids = [sid_text(getattr(SeExports, f"Se{name}Sid")) for name in names]
        return [*sids, SeExports.SeDebugPrivilege.LowPart, SeExports.SeTimeZonePrivilege.LowPart]

    assert value_of(body) == [
        "S-1-1-0", "S-1-5-18", "S-1-5-32-544", "S-1-5", "S-1-16-8192", 20, 34,
    ]  # fmt: skip


def test_a_filtered_token_is_an_administrator_no_more(value_of) -> None:
    def body() -> list:
        token = PsReferencePrimaryToken(PsGetCurrentProcess())
        status, lua = SeFilterToken(token, LUA_TOKEN, 0, 0, 0)
        _, plain = SeFilterToken(token, DISABLE_MAX_PRIVILEGE, 0, 0, 0)
        bad = SeFilterToken(token, 0x100, 0, 0, 0)[0]
        left = cast(plain, TOKEN).Privileges.Present
        level = SeQueryInformationToken(lua, TokenIntegrityLevel)[1]
        parent = cast(lua, TOKEN).ParentTokenId.LowPart == cast(token, TOKEN).TokenId.LowPart
        found = [status, SeTokenIsAdmin(lua), SeTokenIsAdmin(plain), hex(left), hex(level)]
        for each in (lua, plain, token):
            ObDereferenceObject(each)
        return [*found, parent, bad]

    assert value_of(body) == [
        0, False, True, hex(1 << 23), "0x2000", True, STATUS_INVALID_PARAMETER,
    ]  # fmt: skip


def test_a_thread_that_impersonates_is_whom_it_impersonates(value_of) -> None:
    def body() -> list:
        mine = PsReferencePrimaryToken(PsGetCurrentProcess())
        _, other = SeFilterToken(mine, DISABLE_MAX_PRIVILEGE, 0, 0, 0)
        thread = PsGetCurrentThread()
        first = PsReferenceImpersonationToken(thread)[0]
        status = PsImpersonateClient(thread, other, FALSE, FALSE, SecurityImpersonation)
        token, _, effective, level = PsReferenceImpersonationToken(thread)
        context = SECURITY_SUBJECT_CONTEXT()
        SeCaptureSubjectContext(context)
        found = [first, status, token == other, effective, level, context.ClientToken == other]
        found += [SeSinglePrivilegeCheck(SE_DEBUG_PRIVILEGE, UserMode)]
        SeReleaseSubjectContext(context)
        PsDereferenceImpersonationToken(token)
        PsRevertToSelf()
        found += [SeSinglePrivilegeCheck(SE_DEBUG_PRIVILEGE, UserMode)]
        found += [PsReferenceImpersonationToken(thread)[0]]
        ObDereferenceObject(other)
        PsDereferencePrimaryToken(mine)
        return found

    assert value_of(body) == [0, 0, True, False, 2, True, False, True, 0]


def test_identification_is_not_enough_for_privileges(value_of) -> None:
    def body() -> list:
        token = PsReferencePrimaryToken(PsGetCurrentProcess())
        PsImpersonateClient(PsGetCurrentThread(), token, FALSE, FALSE, SecurityIdentification)
        held = SeSinglePrivilegeCheck(SE_TCB_PRIVILEGE, UserMode)
        PsImpersonateClient(PsGetCurrentThread(), NULL, FALSE, FALSE, SecurityAnonymous)
        PsDereferencePrimaryToken(token)
        return [held, SeSinglePrivilegeCheck(SE_TCB_PRIVILEGE, UserMode)]

    assert value_of(body) == [False, True]


def test_a_server_can_be_its_client_later(value_of) -> None:
    def body() -> list:
        qos, client = SECURITY_QUALITY_OF_SERVICE(), SECURITY_CLIENT_CONTEXT()
        qos.Length, qos.ImpersonationLevel, qos.ContextTrackingMode = 12, SecurityImpersonation, 0
        thread = PsGetCurrentThread()
        status = SeCreateClientSecurity(thread, qos, FALSE, client)
        found = [status, client.DirectlyAccessClientToken, SeTokenType(client.ClientToken)]
        found += [SeImpersonateClientEx(client, NULL)]
        token = PsReferenceImpersonationToken(thread)[0]
        found += [token == client.ClientToken]
        PsDereferenceImpersonationToken(token)
        PsRevertToSelf()
        SeDeleteClientSecurity(client)
        return found

    assert value_of(body) == [0, 0, 2, 0, True]


# From an app


def test_an_app_is_an_elevated_administrator(run_app) -> None:
    def app() -> list:
        token = win32.OpenProcessToken(win32.GetCurrentProcess(), win32.TOKEN_ALL_ACCESS)
        ask = win32.GetTokenInformation
        groups = dict(ask(token, win32.TokenGroups))
        return [
            ask(token, win32.TokenElevation), ask(token, win32.TokenElevationType),
            ask(token, win32.TokenIntegrityLevel)[0], hex(groups["S-1-5-32-544"]),
            ask(token, win32.TokenSessionId), ask(token, win32.TokenOwner),
        ]  # fmt: skip

    assert run_app(app) == [1, 2, "S-1-16-12288", "0xf", 1, "S-1-5-32-544"]


def test_a_restricted_token_is_a_standard_user(run_app) -> None:
    def app() -> list:
        token = win32.OpenProcessToken(win32.GetCurrentProcess(), win32.TOKEN_ALL_ACCESS)
        user = win32.CreateRestrictedToken(token, win32.LUA_TOKEN, None, None, None)
        ask = win32.GetTokenInformation
        groups = dict(ask(user, win32.TokenGroups))
        found = [ask(user, win32.TokenElevation), hex(groups["S-1-5-32-544"])]
        with pytest.raises(win32.error) as none:
            win32.OpenThreadToken(win32.GetCurrentThread(), win32.TOKEN_QUERY, True)
        win32.ImpersonateLoggedOnUser(user)
        mine = win32.OpenThreadToken(win32.GetCurrentThread(), win32.TOKEN_QUERY, True)
        found += [none.value.winerror, ask(mine, win32.TokenIntegrityLevel)[0]]
        found += [ask(mine, win32.TokenImpersonationLevel)]
        win32.RevertToSelf()
        return [*found, len(ask(user, win32.TokenPrivileges))]

    assert run_app(app) == [0, "0x10", 1008, "S-1-16-8192", 2, 5]


def test_privileges_are_enabled_by_name(run_app) -> None:
    def app() -> list:
        token = win32.OpenProcessToken(win32.GetCurrentProcess(), win32.TOKEN_ALL_ACCESS)
        debug = win32.LookupPrivilegeValue(None, "SeDebugPrivilege")
        tcb = win32.LookupPrivilegeValue(None, "SeTcbPrivilege")
        enabled = win32.SE_PRIVILEGE_ENABLED
        before = win32.AdjustTokenPrivileges(token, False, [(debug, enabled)])
        first = win32.GetLastError()
        win32.AdjustTokenPrivileges(token, False, [(tcb, enabled)])
        found = dict(win32.GetTokenInformation(token, win32.TokenPrivileges))
        return [debug, before, first, win32.GetLastError(), found[debug]]

    assert run_app(app) == [20, ((20, 0),), 0, win32.ERROR_NOT_ALL_ASSIGNED, 2]
