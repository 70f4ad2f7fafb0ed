"""A server's view of its client: capture who the client is, act as the client later.

Source: ntifs.h SeCreateClientSecurity, SeImpersonateClientEx; ReactOS ntoskrnl/se/access.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.ps import ETHREAD
from ntsim.abi.scalars import BOOLEAN, NTSTATUS
from ntsim.abi.se import SECURITY_CLIENT_CONTEXT, TOKEN, TokenImpersonation, TokenPrimary
from ntsim.abi.winnt_constants import SecurityImpersonation
from ntsim.nt.exports import export
from ntsim.nt.ps.token import psp_impersonate
from ntsim.nt.se.subject import impersonated
from ntsim.nt.se.token import sep_duplicate_token

if TYPE_CHECKING:
    from ntsim.abi.ob import PSECURITY_SUBJECT_CONTEXT
    from ntsim.abi.ps import PETHREAD
    from ntsim.abi.se import PSECURITY_CLIENT_CONTEXT, PSECURITY_QUALITY_OF_SERVICE
    from ntsim.nt.kernel import Kernel

CONTROL = SECURITY_CLIENT_CONTEXT.offset_of("ClientTokenControl")


def sep_create_client(
    nt: Kernel,
    token: int,
    level: int,
    effective: bool,
    qos: PSECURITY_QUALITY_OF_SERVICE,
    remote: bool,
    context: PSECURITY_CLIENT_CONTEXT,
) -> int:
    """Fill a SECURITY_CLIENT_CONTEXT: static tracking copies the token, dynamic references it."""
    wanted = qos.ImpersonationLevel
    source = TOKEN.at(nt.mmu, token)
    if source._v.TokenType != TokenPrimary and wanted > level:
        return ntstatus.STATUS_BAD_IMPERSONATION_LEVEL
    if source._v.TokenType != TokenPrimary and level < SecurityImpersonation and remote:
        return ntstatus.STATUS_BAD_IMPERSONATION_LEVEL
    nt.mmu.write(int(context), bytes(SECURITY_CLIENT_CONTEXT.size))
    nt.mmu.write(int(context), nt.mmu.read(int(qos), 0xC))
    v = context._v
    if qos.ContextTrackingMode and not remote:
        nt.ob.reference(token)
        v.ClientToken, v.DirectlyAccessClientToken = token, 1
        v.DirectAccessEffectiveOnly = effective or qos.EffectiveOnly
        control = nt.mmu.read(token + 0x10, 16) + nt.mmu.read(token + 0x38, 8)
        nt.mmu.write(int(context) + CONTROL, control + nt.mmu.read(token, 16))
    else:
        copy = sep_duplicate_token(
            nt, source, TokenImpersonation, wanted, bool(qos.EffectiveOnly)
        )  # fmt: skip
        if not copy:
            return ntstatus.STATUS_NO_MEMORY
        v.ClientToken = int(copy)
    v.SecurityQos_ContextTrackingMode = v.DirectlyAccessClientToken
    v.ServerIsRemote = int(remote)
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def SeCreateClientSecurity(
    nt: Kernel,
    ClientThread: PETHREAD,
    ClientSecurityQos: PSECURITY_QUALITY_OF_SERVICE,
    RemoteSession: BOOLEAN,
    ClientContext: PSECURITY_CLIENT_CONTEXT,
) -> NTSTATUS:
    """Remember who a thread is at this moment, to be it later; undone by SeDeleteClientSecurity.

    A level above the one the thread impersonates at is STATUS_BAD_IMPERSONATION_LEVEL. Source:
    ntifs.h SeCreateClientSecurity.
    """
    token, level, effective = impersonated(nt, int(ClientThread))
    if not token:
        process = ETHREAD.at(nt.mmu, int(ClientThread))._v.Tcb_Process
        token, level = int(nt.se.primary(process)), SecurityImpersonation
    return sep_create_client(
        nt, token, level, effective, ClientSecurityQos, bool(RemoteSession), ClientContext
    )


@export(irql="== PASSIVE")
def SeCreateClientSecurityFromSubjectContext(
    nt: Kernel,
    SubjectContext: PSECURITY_SUBJECT_CONTEXT,
    ClientSecurityQos: PSECURITY_QUALITY_OF_SERVICE,
    ServerIsRemote: BOOLEAN,
    ClientContext: PSECURITY_CLIENT_CONTEXT,
) -> NTSTATUS:
    """The same from a captured subject context. Source: ntifs.h."""
    v = SubjectContext._v
    token = v.ClientToken or v.PrimaryToken
    level = v.ImpersonationLevel if v.ClientToken else SecurityImpersonation
    return sep_create_client(
        nt, token, level, False, ClientSecurityQos, bool(ServerIsRemote), ClientContext
    )


@export(irql="== PASSIVE")
def SeImpersonateClientEx(
    nt: Kernel, ClientContext: PSECURITY_CLIENT_CONTEXT, ServerThread: PETHREAD
) -> NTSTATUS:
    """ServerThread, NULL: the current one, is the client until PsRevertToSelf. Source: ntifs.h."""
    v = ClientContext._v
    thread = ServerThread if int(ServerThread) else nt.thread.ethread
    effective = v.DirectAccessEffectiveOnly if v.DirectlyAccessClientToken else (
        v.SecurityQos_EffectiveOnly
    )
    level = v.SecurityQos_ImpersonationLevel
    return psp_impersonate(nt, thread, v.ClientToken, bool(effective), level)


@export(irql="== PASSIVE")
def SeImpersonateClient(
    nt: Kernel, ClientContext: PSECURITY_CLIENT_CONTEXT, ServerThread: PETHREAD
) -> None:
    """SeImpersonateClientEx without a status. Source: ntifs.h."""
    SeImpersonateClientEx(nt, ClientContext, ServerThread)


@export(irql="== PASSIVE", inline=True)
def SeDeleteClientSecurity(nt: Kernel, ClientContext: PSECURITY_CLIENT_CONTEXT) -> None:
    """Give the client's token back: a macro of ntifs.h."""
    nt.ob.dereference(ClientContext._v.ClientToken)
