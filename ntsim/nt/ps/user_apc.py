"""User APCs: queued by one thread, run by another when it waits alertably.

Source: Win32 QueueUserAPC; Windows Internals 7, part 2, chapter 8, "User-mode APCs".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.ke import KAPC
from ntsim.abi.scalars import HANDLE, NTSTATUS, PVOID
from ntsim.nt.ki.apc import (
    KeInitializeApc,
    ki_apc_head,
    ki_call_kernel_routine,
    ki_insert_apc,
)
from ntsim.nt.ki.state import USER_APC_PENDING
from ntsim.nt.ob.handles import ob_reference_by_handle
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.nt.ke.thread import Thread
    from ntsim.nt.kernel import Kernel

THREAD_SET_CONTEXT = 0x10
_ENTRY = KAPC.offset_of("ApcListEntry")


def psp_free_apc(nt: Kernel, apc: Any, *pointers: int) -> int:
    """Kernel routine of an APC that NtQueueApcThread made: gives its memory back."""
    nt.free_pool(int(apc))
    return 0


def NtQueueApcThread(
    nt: Kernel,
    ThreadHandle: HANDLE,
    ApcRoutine: PVOID,
    ApcArgument1: PVOID,
    ApcArgument2: PVOID,
    ApcArgument3: PVOID,
) -> NTSTATUS:
    """Queue a routine of the target's user mode to a thread."""
    mode = nt.thread.v.PreviousMode
    kind = nt.ps.thread_type
    status, body, _ = ob_reference_by_handle(nt, ThreadHandle, THREAD_SET_CONTEXT, kind, mode)
    if status:
        return status
    thread = nt.ob.bodies[body]
    apc = KAPC.at(nt.mmu, nt.allocate_pool(KAPC.size, "Psap"))
    if not apc:
        status = ntstatus.STATUS_NO_MEMORY
    else:
        nt.mmu.write(int(apc), bytes(KAPC.size))
        free = nt.internal_address(psp_free_apc)
        KeInitializeApc(nt, apc, thread.k, 0, free, 0, ApcRoutine, 1, ApcArgument1)
        if not ki_insert_apc(nt, apc, ApcArgument2, ApcArgument3):
            nt.free_pool(int(apc))
            status = ntstatus.STATUS_UNSUCCESSFUL
    nt.ob.dereference(body)
    return status


def NtTestAlert(nt: Kernel) -> NTSTATUS:
    """Let queued user APCs run at this call's end; STATUS_ALERTED is not modelled."""
    thread = nt.thread
    if not lists.is_empty(nt.mmu, ki_apc_head(thread, 1)):
        thread.v.ApcState_UserApcPendingAll |= USER_APC_PENDING
    return ntstatus.STATUS_SUCCESS


def ki_take_user_apc(nt: Kernel, thread: Thread) -> tuple[int, int, int, int] | None:
    """(routine, context, arguments) of the next user APC, taken off the queue; None after the last.

    The APC's kernel routine runs first, as always.
    """
    head = ki_apc_head(thread, 1)
    v = thread.v
    if lists.is_empty(nt.mmu, head):
        v.ApcState_UserApcPendingAll &= ~USER_APC_PENDING
        return None
    apc = KAPC.at(nt.mmu, lists.remove_head(nt.mmu, head) - _ENTRY)
    apc._v.Inserted = 0
    return ki_call_kernel_routine(nt, apc)
