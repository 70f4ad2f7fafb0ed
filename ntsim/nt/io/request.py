"""Common to every system call that sends an IRP on a file handle: build, send, wait, return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.io import IO_STATUS_BLOCK
from ntsim.abi.ke import KEVENT
from ntsim.hw.mmu import WRITE
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.io.call import IofCallDriver
from ntsim.nt.io.cancel import IoCancelIrp
from ntsim.nt.io.file_lock import iop_leave_file, iop_release_file_lock
from ntsim.nt.io.irp import LOCATION, io_allocate_irp, queue_to_thread
from ntsim.nt.ke.objects import KeClearEvent
from ntsim.nt.ke.wait import WAIT_ANY, ki_wait
from ntsim.nt.mm import layout
from ntsim.nt.mm.probe import mm_probe
from ntsim.nt.ob.handles import ob_reference_by_handle

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

EXECUTIVE = 0
_STATUS_BLOCK = IO_STATUS_BLOCK.size
_LAST_STATUS_BLOCK = layout.MM_USER_PROBE_ADDRESS - _STATUS_BLOCK
EVENT_MODIFY_STATE = 2


def iop_reference_file(nt: Kernel, handle: int, access: int) -> tuple[int, Any, int]:
    """(status, FILE_OBJECT, granted access) of a handle, referenced."""
    io, mode = nt.io, nt.il.current.context.v.PreviousMode
    status, body, granted = ob_reference_by_handle(nt, handle, access, io.file_type, mode)
    return status, io.files[body], granted


def iop_reference_event(nt: Kernel, handle: int) -> tuple[int, Any]:
    """(status, KEVENT) of an optional event handle, made not signalled."""
    if not handle:
        return 0, None
    mode = nt.thread.v.PreviousMode
    kind = nt.ob.types["Event"]
    status, body, _ = ob_reference_by_handle(nt, handle, EVENT_MODIFY_STATE, kind, mode)
    if status:
        return status, None
    event = KEVENT.at(nt.mmu, body)
    KeClearEvent(nt, event)
    return 0, event


def iop_let_go(nt: Kernel, file: Any, event: Any) -> None:
    """A request that was not sent: the file's lock, and the references to file and event, go."""
    iop_leave_file(nt, file)
    iop_drop(nt, file, event)


def iop_drop(nt: Kernel, file: Any, event: Any) -> None:
    """Drop the references to a file and, if there is one, an event."""
    nt.io.irp_done(file)
    if event is not None:
        nt.ob.dereference(int(event))


def iop_probe_status_block(nt: Kernel, address: int) -> None:
    """Raises if the caller's I/O status block cannot be written."""
    if address & 3 or address > _LAST_STATUS_BLOCK:
        mm_probe(nt, address, _STATUS_BLOCK, 4)
    nt.mmu.host(address, WRITE, True)
    if address & 0xFFF > PAGE_SIZE - _STATUS_BLOCK:
        nt.mmu.host(address + _STATUS_BLOCK - 1, WRITE, True)


def iop_new_irp(
    nt: Kernel, file: Any, device: Any, major: int, status_block: int, event: Any
) -> Any:
    """An IRP for `file` that goes to `device`, the top of its stack, its first location filled with
    what every request has; NULL if short."""
    irp = io_allocate_irp(nt, device._v.StackSize)
    if not irp:
        return irp
    v = irp._v
    v.Tail_Overlay_OriginalFileObject = file
    v.RequestorMode = nt.il.current.context.v.PreviousMode
    v.UserIosb = status_block
    if event:
        v.UserEvent = event
    stack = nt.io.locations[v.Tail_Overlay_CurrentStackLocation - LOCATION]
    stack.MajorFunction, stack.FileObject = major, file
    return irp


def iop_send(nt: Kernel, file: Any, device: Any, irp: Any) -> int:
    """Queue the IRP to the thread, call the device's driver and, on a synchronous handle, wait.

    The IRP's reference to the file is the caller's; it goes with the IRP. So does the lock of a
    synchronous file, which the caller holds.
    """
    v = file._v
    synchronous = v.Flags & c.FO_SYNCHRONOUS_IO
    v.Event_Header_SignalState = 0
    queue_to_thread(nt, irp)
    status = IofCallDriver(nt, device, irp)
    if synchronous:
        if status == ntstatus.STATUS_PENDING:
            status = iop_wait_for(nt, file, irp)
        iop_release_file_lock(nt, file)
    return status


def iop_wait_for(nt: Kernel, file: Any, irp: Any) -> int:
    """Wait on the file object until the IRP has completed; alertable only if opened so.

    A thread that is to end cancels the request first and then waits for it without condition.
    """
    mode = nt.thread.v.PreviousMode
    alertable = bool(file._v.Flags & c.FO_ALERTABLE_IO)
    address = int(file.Event)
    status = ki_wait(nt, [address], WAIT_ANY, EXECUTIVE, mode, alertable, None)
    if status in (ntstatus.STATUS_USER_APC, ntstatus.STATUS_ALERTED):
        IoCancelIrp(nt, irp)
        ki_wait(nt, [address], WAIT_ANY, EXECUTIVE, 0, False, None)
    return int(file._v.FinalStatus)
