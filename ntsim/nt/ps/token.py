"""The tokens of processes and threads: references to them, impersonation.

Source: ntifs.h; WDK PsReferencePrimaryToken, PsImpersonateClient; ReactOS ntoskrnl/ps/security.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.ps import ETHREAD
from ntsim.abi.scalars import (
    BOOLEAN,
    HANDLE,
    NTSTATUS,
    PVOID,
    SECURITY_IMPERSONATION_LEVEL,
)
from ntsim.abi.se import TOKEN, TokenImpersonation
from ntsim.abi.winnt_constants import SecurityIdentification, SecurityImpersonation
from ntsim.nt.exports import Out, export
from ntsim.nt.ob.handles import ob_reference_by_handle
from ntsim.nt.se import well_known as w
from ntsim.nt.se.privilege import holds
from ntsim.nt.se.subject import EFFECTIVE_ONLY, IMPERSONATING, impersonated
from ntsim.nt.se.token import members, sep_duplicate_token

if TYPE_CHECKING:
    from ntsim.abi.ps import PEPROCESS, PETHREAD
    from ntsim.nt.kernel import Kernel

TOKEN_IMPERSONATE = 4


def psp_revert(nt: Kernel, thread_va: int) -> None:
    """The thread is itself again: its impersonation token loses a reference."""
    token, _, _ = impersonated(nt, thread_va)
    v = ETHREAD.at(nt.mmu, thread_va)._v
    v.CrossThreadFlags &= ~IMPERSONATING
    v.ClientSecurity = 0
    if token:
        nt.ob.dereference(token)


def psp_impersonate(nt: Kernel, thread: PETHREAD, token: int, effective: bool, level: int) -> int:
    """Let a thread impersonate; what it may not do it does as SecurityIdentification.

    The thread's own process must hold SeImpersonatePrivilege or be the same user at no higher an
    integrity level. Source: Windows Internals 7, part 1, chapter 7, "Impersonation".
    """
    if not psp_may_impersonate(nt, int(thread), token) and level >= SecurityImpersonation:
        copy = sep_duplicate_token(
            nt, TOKEN.at(nt.mmu, token), TokenImpersonation, SecurityIdentification, effective
        )
        if not copy:
            return ntstatus.STATUS_INSUFFICIENT_RESOURCES
        token, level = int(copy), SecurityIdentification
    else:
        nt.ob.reference(token)
    psp_revert(nt, int(thread))
    v = thread._v
    v.ClientSecurity = token | level | (EFFECTIVE_ONLY if effective else 0)
    v.CrossThreadFlags |= IMPERSONATING
    return ntstatus.STATUS_SUCCESS


def psp_may_impersonate(nt: Kernel, thread_va: int, token: int) -> bool:
    primary = nt.se.primary(ETHREAD.at(nt.mmu, thread_va)._v.Tcb_Process)
    if holds(primary, w.IMPERSONATE):
        return True
    return members(nt, primary)[0][0] == members(nt, TOKEN.at(nt.mmu, token))[0][0]


@export(irql="== PASSIVE")
def PsReferencePrimaryToken(nt: Kernel, Process: PEPROCESS) -> PVOID:
    """A process's token, referenced. Source: WDK PsReferencePrimaryToken."""
    token = int(nt.se.primary(int(Process)))
    nt.ob.reference(token)
    return token


@export(irql="<= APC")
def PsDereferencePrimaryToken(nt: Kernel, PrimaryToken: PVOID) -> None:
    """Undo PsReferencePrimaryToken. Source: WDK PsDereferencePrimaryToken."""
    nt.ob.dereference(PrimaryToken)


@export(irql="<= APC")
def PsReferenceImpersonationToken(
    nt: Kernel,
    Thread: PETHREAD,
    CopyOnOpen: Out[BOOLEAN],
    EffectiveOnly: Out[BOOLEAN],
    ImpersonationLevel: Out[SECURITY_IMPERSONATION_LEVEL],
) -> PVOID:
    """The token a thread impersonates, referenced; NULL, and nothing stored, if it does not.

    Source: ntifs.h PsReferenceImpersonationToken.
    """
    token, level, effective = impersonated(nt, int(Thread))
    if token:
        nt.ob.reference(token)
        CopyOnOpen[0], EffectiveOnly[0], ImpersonationLevel[0] = False, effective, level
    return token


@export(irql="<= APC")
def PsDereferenceImpersonationToken(nt: Kernel, ImpersonationToken: PVOID) -> None:
    """Undo PsReferenceImpersonationToken; NULL does nothing. Source: ntifs.h."""
    if ImpersonationToken:
        nt.ob.dereference(ImpersonationToken)


@export(irql="== PASSIVE")
def PsImpersonateClient(
    nt: Kernel,
    Thread: PETHREAD,
    Token: PVOID,
    CopyOnOpen: BOOLEAN,
    EffectiveOnly: BOOLEAN,
    ImpersonationLevel: SECURITY_IMPERSONATION_LEVEL,
) -> NTSTATUS:
    """Impersonate a token, which gets a reference; NULL ends impersonation. Source: ntifs.h."""
    if not Token:
        psp_revert(nt, int(Thread))
        return ntstatus.STATUS_SUCCESS
    return psp_impersonate(nt, Thread, Token, bool(EffectiveOnly), ImpersonationLevel)


@export(irql="== PASSIVE")
def PsRevertToSelf(nt: Kernel) -> None:
    """The current thread stops impersonating. Source: ntifs.h PsRevertToSelf."""
    psp_revert(nt, nt.thread.va)


@export(irql="== PASSIVE")
def PsAssignImpersonationToken(nt: Kernel, Thread: PETHREAD, Token: HANDLE) -> NTSTATUS:
    """Impersonate the token behind a handle; 0 ends impersonation. Source: ntifs.h."""
    if not Token:
        psp_revert(nt, int(Thread))
        return ntstatus.STATUS_SUCCESS
    mode = nt.thread.v.PreviousMode
    kind = nt.se.token_type
    status, body, _ = ob_reference_by_handle(nt, Token, TOKEN_IMPERSONATE, kind, mode)
    if status:
        return status
    v = TOKEN.at(nt.mmu, body)._v
    if v.TokenType != TokenImpersonation:
        status = ntstatus.STATUS_BAD_TOKEN_TYPE
    else:
        status = psp_impersonate(nt, Thread, body, False, v.ImpersonationLevel)
    nt.ob.dereference(body)
    return status


@export(irql="== PASSIVE")
def PsIsThreadImpersonating(nt: Kernel, Thread: PETHREAD) -> BOOLEAN:
    """TRUE if the thread impersonates. Exported, undocumented. Source: ReactOS."""
    return bool(impersonated(nt, int(Thread))[0])
