"""The security context of a subject: the primary token of its process and the token it
impersonates.

Source: WDK SeCaptureSubjectContext and its neighbours; ReactOS ntoskrnl/se/access.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi.ob import SECURITY_SUBJECT_CONTEXT
from ntsim.abi.ps import EPROCESS, ETHREAD
from ntsim.abi.scalars import PVOID
from ntsim.abi.se import TOKEN
from ntsim.nt.exports import export
from ntsim.nt.ki.apc import KeEnterCriticalRegion, KeLeaveCriticalRegion

if TYPE_CHECKING:
    from ntsim.abi.ob import PSECURITY_SUBJECT_CONTEXT
    from ntsim.abi.ps import PEPROCESS, PETHREAD
    from ntsim.nt.kernel import Kernel

IMPERSONATING = 8
"""ETHREAD.CrossThreadFlags: PS_CROSS_THREAD_FLAGS_IMPERSONATING (ActiveImpersonationInfo)."""
LEVEL, EFFECTIVE_ONLY = 3, 4
"""Low bits of ETHREAD.ClientSecurity beside the token's address."""


def impersonated(nt: Kernel, thread_va: int) -> tuple[int, int, bool]:
    """(token or 0, impersonation level, effective only) of a thread."""
    v = ETHREAD.at(nt.mmu, thread_va)._v
    if not v.CrossThreadFlags & IMPERSONATING:
        return 0, 0, False
    data = v.ClientSecurity
    return data & ~7, data & LEVEL, bool(data & EFFECTIVE_ONLY)


def sep_capture(nt: Kernel, context: Any, thread_va: int, process_va: int) -> None:
    """Fill a SECURITY_SUBJECT_CONTEXT; both tokens get a reference."""
    v = context._v
    client, level, _ = impersonated(nt, thread_va) if thread_va else (0, 0, False)
    primary = int(nt.se.primary(process_va))
    for token in (client, primary):
        if token:
            nt.ob.reference(token)
    v.ClientToken, v.ImpersonationLevel = client, level
    v.PrimaryToken = primary
    v.ProcessAuditId = EPROCESS.at(nt.mmu, process_va)._v.UniqueProcessId


def sep_release(nt: Kernel, context: Any) -> None:
    """Drop what sep_capture referenced."""
    v = context._v
    for token in (v.PrimaryToken, v.ClientToken):
        if token:
            nt.ob.dereference(token)
    v.PrimaryToken = v.ClientToken = 0


def effective_token(nt: Kernel, context: Any) -> Any:
    """The token that counts: the impersonated one if there is one."""
    v = context._v
    return TOKEN.at(nt.mmu, v.ClientToken or v.PrimaryToken)


class Subject:
    """The current thread's subject context for the length of a `with`."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt

    def __enter__(self) -> Any:
        nt = self.nt
        block = nt.allocate_pool(SECURITY_SUBJECT_CONTEXT.size, "SeSc")
        self.context = SECURITY_SUBJECT_CONTEXT.at(nt.mmu, block)
        sep_capture(nt, self.context, nt.thread.va, nt.ps.current_process().va)
        return self.context

    def __exit__(self, *error: object) -> None:
        sep_release(self.nt, self.context)
        self.nt.free_pool(int(self.context))


@export(irql="== PASSIVE")
def SeCaptureSubjectContext(nt: Kernel, SubjectContext: PSECURITY_SUBJECT_CONTEXT) -> None:
    """The tokens of the current thread and its process, referenced until they are released.

    Source: WDK SeCaptureSubjectContext.
    """
    sep_capture(nt, SubjectContext, nt.thread.va, nt.ps.current_process().va)


@export(irql="== PASSIVE")
def SeCaptureSubjectContextEx(
    nt: Kernel, Thread: PETHREAD, Process: PEPROCESS, SubjectContext: PSECURITY_SUBJECT_CONTEXT
) -> None:
    """The same for any thread, NULL: no impersonation, and process. Source: ntifs.h."""
    sep_capture(nt, SubjectContext, int(Thread), int(Process))


@export(irql="== PASSIVE")
def SeLockSubjectContext(nt: Kernel, SubjectContext: PSECURITY_SUBJECT_CONTEXT) -> None:
    """Keep the tokens from changing: a shared lock in a critical region. Source: WDK.

    No token here is changed while another thread can run in between, so only the critical region
    is to be seen.
    """
    KeEnterCriticalRegion(nt)


@export(irql="== PASSIVE")
def SeUnlockSubjectContext(nt: Kernel, SubjectContext: PSECURITY_SUBJECT_CONTEXT) -> None:
    """Undo SeLockSubjectContext. Source: WDK SeUnlockSubjectContext."""
    KeLeaveCriticalRegion(nt)


@export(irql="== PASSIVE")
def SeReleaseSubjectContext(nt: Kernel, SubjectContext: PSECURITY_SUBJECT_CONTEXT) -> None:
    """Drop the references and clear the context. Source: WDK SeReleaseSubjectContext."""
    sep_release(nt, SubjectContext)


@export(irql="any", inline=True)
def SeQuerySubjectContextToken(nt: Kernel, SubjectContext: PSECURITY_SUBJECT_CONTEXT) -> PVOID:
    """The token that counts, not referenced: a macro of ntifs.h."""
    return int(effective_token(nt, SubjectContext))
