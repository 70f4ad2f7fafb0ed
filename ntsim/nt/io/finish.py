"""The last stage of completion: hand the result to whoever sent the IRP.

For an IRP of a thread this runs in that thread's context, as a special kernel APC: at once when the
thread itself completes it below APC_LEVEL, else when it next may run. Source: Windows Internals 7,
part 1, chapter 6, "I/O request packets", completion stage two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import wdm_constants as c
from ntsim.abi.io import FILE_OBJECT, IO_STATUS_BLOCK, IRP
from ntsim.abi.ke import KAPC, KEVENT
from ntsim.abi.mm import MDL
from ntsim.hw.mmu import WRITE
from ntsim.nt.io.completion_port import iop_queue_completion
from ntsim.nt.io.irp import dequeue_from_thread, io_free_irp
from ntsim.nt.ke.objects import KeSetEvent
from ntsim.nt.ki.apc import KeInitializeApc, ki_insert_apc
from ntsim.nt.mm.mdl import IoFreeMdl, mm_unlock_pages
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

APC_OFFSET = IRP.offset_of("Tail.Apc")
_ASSOCIATED, _BUFFERED = c.IRP_ASSOCIATED_IRP, c.IRP_BUFFERED_IO
_SPECIAL = _ASSOCIATED | c.IRP_PAGING_IO | c.IRP_CLOSE_OPERATION
_SIGNALS = c.FO_SYNCHRONOUS_IO | c.FO_SKIP_SET_EVENT
_DEALLOCATE, _INPUT = c.IRP_DEALLOCATE_BUFFER, c.IRP_INPUT_OPERATION


def iop_finish(nt: Kernel, irp: Any, boost: int) -> None:
    """After the last completion routine."""
    v = irp._v
    if v.Flags & _SPECIAL:
        if v.Flags & _ASSOCIATED:
            iop_finish_associated(nt, irp, boost)
        else:
            iop_finish_without_apc(nt, irp, boost)
        return
    if v.MdlAddress:
        iop_release_mdls(nt, v.MdlAddress)
    thread, processor = nt.ke.threads.get(v.Tail_Overlay_Thread), nt.il.current
    if thread is None:
        iop_drop_irp(nt, irp)
    elif thread is processor.context and processor.cr8 < 1 and not thread.v.SpecialApcDisable:
        iop_complete_request(nt, irp)
    else:
        apc = KAPC.at(nt.mmu, int(irp) + APC_OFFSET)
        file = v.Tail_Overlay_OriginalFileObject
        KeInitializeApc(nt, apc, thread.k, 0, nt.io.completion_apc, 0, 0, 0, 0)
        # The APC overlays the tail: its second argument lies where OriginalFileObject does.
        ki_insert_apc(nt, apc, file, file, boost)


def iop_finish_without_apc(nt: Kernel, irp: Any, boost: int) -> None:
    """Paging I/O, IRP_MJ_CLEANUP and IRP_MJ_CLOSE: who waits for them may be at APC_LEVEL.

    The MDL of paging I/O, and its reference to the file, are the requester's.
    """
    v = irp._v
    event = KEVENT.at(nt.mmu, v.UserEvent)
    iop_write_status_block(nt, v.UserIosb, v.IoStatus_Status, v.IoStatus_Information)
    if v.Flags & c.IRP_CLOSE_OPERATION:
        dequeue_from_thread(nt, irp)
        nt.ob.dereference(v.Tail_Overlay_OriginalFileObject)
    io_free_irp(nt, irp)
    KeSetEvent(nt, event, boost, False)


def iop_release_mdls(nt: Kernel, first: int) -> None:
    """Unlock every chained MDL before the requester hears of it, and free them."""
    mdl = MDL.at(nt.mmu, first)
    while mdl:
        following = mdl.Next
        if mdl._v.MdlFlags & c.MDL_PAGES_LOCKED:
            mm_unlock_pages(nt, mdl)
        IoFreeMdl(nt, mdl)
        mdl = following


def iop_completion_apc(nt: Kernel, apc: Any, *arguments: int) -> int:
    """Kernel routine of the completion APC: the IRP lies around the APC."""
    iop_complete_request(nt, IRP.at(nt.mmu, int(apc) - APC_OFFSET))
    return 0


def iop_complete_request(nt: Kernel, irp: Any) -> None:
    """In the requester's context: copy back, write the status block, signal, let go."""
    v = irp._v
    status, information = v.IoStatus_Status, v.IoStatus_Information
    flags = v.Flags
    if flags & _BUFFERED:
        iop_copy_back(nt, v, flags, status, information)
        status = v.IoStatus_Status
    file = nt.io.files[v.Tail_Overlay_OriginalFileObject]
    if status >> 30 != 3 or v.PendingReturned or flags & c.IRP_CREATE_OPERATION:
        iop_post(nt, v, file, status, information)
    if v.UserEvent:
        iop_release_event(nt, v, file)
    dequeue_from_thread(nt, irp)
    if (
        flags & c.IRP_CREATE_OPERATION
        or (status >> 30 == 3 and not v.PendingReturned)
        or not iop_tell(nt, irp, v, file)
    ):
        io_free_irp(nt, irp)
    if file:
        nt.io.irp_done(file)


def iop_tell(nt: Kernel, irp: Any, v: Any, file: Any) -> bool:
    """The requester's APC, or a packet for the file's completion port; False: the IRP is free."""
    routine = v.Overlay_AsynchronousParameters_UserApcRoutine
    if routine:
        iop_queue_user_apc(nt, irp, v, routine)
        return True
    return bool(file) and file._v.CompletionContext != 0 and iop_queue_completion(nt, irp, file)


def iop_queue_user_apc(nt: Kernel, irp: Any, v: Any, routine: int) -> None:
    """The APC routine an asynchronous caller gave, queued to its thread; the IRP holds the APC."""
    context, block = v.Overlay_AsynchronousParameters_UserApcContext, v.UserIosb
    apc = KAPC.at(nt.mmu, int(irp) + APC_OFFSET)
    free = nt.io.free_irp_apc
    KeInitializeApc(nt, apc, nt.thread.k, 0, free, 0, routine, v.RequestorMode, context)
    ki_insert_apc(nt, apc, block, 0)


def iop_free_irp_apc(nt: Kernel, apc: Any, *arguments: int) -> int:
    """Kernel routine of a requester's APC: nothing needs the IRP around it any more."""
    io_free_irp(nt, IRP.at(nt.mmu, int(apc) - APC_OFFSET))
    return 0


def iop_copy_back(nt: Kernel, v: Any, flags: int, status: int, information: int) -> None:
    """METHOD_BUFFERED output: Information bytes, and only if the status is no error.

    A driver that claims more than the buffer holds discloses pool and overruns the caller, as on
    Windows: nothing compares Information with the buffer's length.
    """
    buffer = v.AssociatedIrp_SystemBuffer
    if flags & _INPUT and information and status >> 30 != 3:
        try:
            nt.mmu.write(v.UserBuffer, nt.mmu.read(buffer, information))
        except StructuredException as error:
            v.IoStatus_Status = error.ExceptionCode
    if flags & _DEALLOCATE and buffer:
        nt.ex.pool.free(buffer)


def iop_post(nt: Kernel, v: Any, file: Any, status: int, information: int) -> None:
    """The I/O status block, the event, the file object.

    Of an error that a synchronous file's request pended for, only the file object hears: the
    requester, who waits for it, returns its FinalStatus.
    """
    if status >> 30 == 3 and file and not v.Flags & c.IRP_SYNCHRONOUS_API:
        f = file._v
        if f.Flags & c.FO_SYNCHRONOUS_IO:
            f.FinalStatus = status
            KeSetEvent(nt, file.Event, 0, False)
            return
    if v.UserIosb:
        iop_write_status_block(nt, v.UserIosb, status, information)
    if file:
        file._v.FinalStatus = status
    if v.UserEvent:
        KeSetEvent(nt, KEVENT.at(nt.mmu, v.UserEvent), 0, False)
        if file and file._v.Flags & c.FO_SYNCHRONOUS_IO and v.UserEvent != int(file.Event):
            KeSetEvent(nt, file.Event, 0, False)
    elif file and file._v.Flags & _SIGNALS != c.FO_SKIP_SET_EVENT:
        KeSetEvent(nt, file.Event, 0, False)


def iop_write_status_block(nt: Kernel, address: int, status: int, information: int) -> None:
    """Information, then Status, which a caller may be polling; if it can be written still."""
    mmu = nt.mmu
    try:
        if address & 7 or address & 0xFFF == 0xFF8:
            block = IO_STATUS_BLOCK.at(mmu, address)
            block.Information, block.Status = information, status
        else:
            at = mmu.reach(address, WRITE)
            mmu.words[(at >> 3) + 1], mmu.ram.u32[at >> 2] = information, status
    except StructuredException:
        return


def iop_release_event(nt: Kernel, v: Any, file: Any) -> None:
    """An event that the requester gave by handle was referenced; its own are no objects."""
    event = v.UserEvent
    if event and file and not v.Flags & c.IRP_SYNCHRONOUS_API:
        nt.ob.dereference(event)


def iop_finish_associated(nt: Kernel, irp: Any, boost: int) -> None:
    """An associated IRP: the master completes when the last of its associates has."""
    v = irp._v
    master = IRP.at(nt.mmu, v.AssociatedIrp_MasterIrp)
    if v.MdlAddress:
        iop_release_mdls(nt, v.MdlAddress)
    io_free_irp(nt, irp)
    master._v.AssociatedIrp_IrpCount -= 1
    if master._v.AssociatedIrp_IrpCount == 0:
        nt.io.complete(master, boost)


def iop_drop_irp(nt: Kernel, irp: Any) -> None:
    """The requesting thread is gone: nobody is left to tell."""
    v = irp._v
    if v.Flags & _DEALLOCATE and v.AssociatedIrp_SystemBuffer:
        nt.ex.pool.free(v.AssociatedIrp_SystemBuffer)
    file = nt.io.original_file(irp)
    iop_release_event(nt, v, file)
    io_free_irp(nt, irp)
    if file:
        nt.io.irp_done(FILE_OBJECT.at(nt.mmu, int(file)))
