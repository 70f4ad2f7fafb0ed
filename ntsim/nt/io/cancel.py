"""Cancelling IRPs. The system cancel spin lock is held when a cancel routine is called.

Source: WDK "Canceling IRPs"; Wine ntoskrnl tests test_cancel_irp, test_overlapped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import bugcodes, ntstatus
from ntsim.abi.io import IO_STACK_LOCATION, IRP
from ntsim.abi.scalars import BOOLEAN, HANDLE, KIRQL, NTSTATUS, PVOID
from ntsim.abi.types import ULONG_PTR_TYPE, pointer_to
from ntsim.nt.events import IrpCancelled
from ntsim.nt.exports import Out, export
from ntsim.nt.io.irp import THREAD_LIST_ENTRY
from ntsim.nt.ke.spinlock import KeAcquireSpinLockRaiseToDpc, KeReleaseSpinLock
from ntsim.nt.ob.handles import ob_reference_by_handle
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.abi.io import PIRP
    from ntsim.nt.ke.thread import Thread
    from ntsim.nt.kernel import Kernel


def cancel_lock(nt: Kernel) -> Any:
    return pointer_to(ULONG_PTR_TYPE, nt.mmu, nt.io.cancel_lock)


@export(irql="<= DISPATCH")
def IoAcquireCancelSpinLock(nt: Kernel, Irql: Out[KIRQL]) -> None:
    """Acquire the system cancel spin lock. Source: WDK IoAcquireCancelSpinLock."""
    Irql[0] = KeAcquireSpinLockRaiseToDpc(nt, cancel_lock(nt))


@export(irql="== DISPATCH")
def IoReleaseCancelSpinLock(nt: Kernel, Irql: KIRQL) -> None:
    """Release it. Source: WDK IoReleaseCancelSpinLock."""
    KeReleaseSpinLock(nt, cancel_lock(nt), Irql)


@export(irql="<= DISPATCH")
def IoCancelIrp(nt: Kernel, Irp: PIRP) -> BOOLEAN:
    """Set Irp->Cancel and call the cancel routine; FALSE if there is none.

    An IRP past its last location that still has one was completed by somebody: 0x48. A routine that
    returns holding the cancel lock: 0x11B. Source: WDK IoCancelIrp.
    """
    lock = cancel_lock(nt)
    old = KeAcquireSpinLockRaiseToDpc(nt, lock)
    v = Irp._v
    v.Cancel = 1
    routine = v.CancelRoutine
    v.CancelRoutine = 0
    if not routine:
        KeReleaseSpinLock(nt, lock, old)
        return False
    if v.CurrentLocation > v.StackCount + 1:
        nt.bugcheck(bugcodes.CANCEL_STATE_IN_COMPLETED_IRP, int(Irp), routine, 0, 0)
    v.CancelIrql = old
    nt.emit_at(IrpCancelled, int(Irp))
    stack = IO_STACK_LOCATION.at(nt.mmu, v.Tail_Overlay_CurrentStackLocation)
    device = stack.DeviceObject if v.CurrentLocation <= v.StackCount else 0
    nt.call(routine, device, Irp)
    if lock[0] & 1 and nt.il.current.cr8 >= 2 and old < 2:
        nt.bugcheck(bugcodes.DRIVER_RETURNED_HOLDING_CANCEL_LOCK, int(Irp), routine, 0, 0)
    return True


def thread_irps(nt: Kernel, thread: Thread) -> list[Any]:
    """The IRPs on a thread's list, newest first."""
    found = lists.entries(nt.mmu, int(thread.ethread.IrpList))
    return [IRP.at(nt.mmu, entry - THREAD_LIST_ENTRY) for entry in found]


def io_cancel_thread(nt: Kernel, thread: Thread) -> None:
    """Cancel everything a thread has under way and wait until it has come back.

    Windows gives up after five minutes and lets the IRP go; so does this, in virtual time.
    """
    irps = thread_irps(nt, thread)
    if not irps:
        return
    for irp in irps:
        IoCancelIrp(nt, irp)
    give_up = nt.il.now + 300 * 10_000_000
    while thread_irps(nt, thread) and nt.il.now < give_up:
        nt.ke.sleep(100_000)
    for irp in thread_irps(nt, thread):
        entry = int(irp) + THREAD_LIST_ENTRY
        lists.remove(nt.mmu, entry)
        lists.initialize(nt.mmu, entry)
        irp._v.Tail_Overlay_Thread = 0


def NtCancelIoFileEx(
    nt: Kernel, FileHandle: HANDLE, IoRequestToCancel: PVOID, IoStatusBlock: PVOID
) -> NTSTATUS:
    """Cancel the process's requests on a file, all or the one with that status block."""
    mode = nt.thread.v.PreviousMode
    status, body, _ = ob_reference_by_handle(nt, FileHandle, 0, nt.io.file_type, mode)
    if status:
        return status
    found = False
    for thread in list(nt.ps.current_process().threads):
        for irp in thread_irps(nt, thread):
            v = irp._v
            same_request = not IoRequestToCancel or v.UserIosb == IoRequestToCancel
            if v.Tail_Overlay_OriginalFileObject == body and same_request:
                found = True
                IoCancelIrp(nt, irp)
    nt.ob.dereference(body)
    return ntstatus.STATUS_SUCCESS if found else ntstatus.STATUS_NOT_FOUND


def NtCancelIoFile(nt: Kernel, FileHandle: HANDLE, IoStatusBlock: PVOID) -> NTSTATUS:
    """Cancel the calling thread's requests on a file."""
    mode = nt.thread.v.PreviousMode
    status, body, _ = ob_reference_by_handle(nt, FileHandle, 0, nt.io.file_type, mode)
    if status:
        return status
    for irp in thread_irps(nt, nt.thread):
        if irp._v.Tail_Overlay_OriginalFileObject == body:
            IoCancelIrp(nt, irp)
    nt.ob.dereference(body)
    return ntstatus.STATUS_SUCCESS
