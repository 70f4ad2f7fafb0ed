"""File objects: making them, closing handles, the last reference.

IRP_MJ_CREATE when a handle is asked for, IRP_MJ_CLEANUP when the last handle goes, IRP_MJ_CLOSE
when the last reference goes. Source: WDK IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE; Windows
Internals 7, part 1, chapter 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.io import FILE_OBJECT
from ntsim.abi.ke import KEVENT
from ntsim.nt.io.call import IofCallDriver
from ntsim.nt.io.completion_port import iop_leave_port
from ntsim.nt.io.device import iop_dereference_device, iop_top_of
from ntsim.nt.io.file_lock import iop_acquire_file_lock, iop_release_file_lock
from ntsim.nt.io.irp import io_allocate_irp, io_next_location, queue_to_thread
from ntsim.nt.ke.objects import KeInitializeEvent
from ntsim.nt.ke.wait import WAIT_ANY, ki_wait
from ntsim.nt.ob.objects import set_unicode
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

IO_TYPE_FILE = 5


def iop_new_file(nt: Kernel, device: Any, name: str, access: int, share: int, options: int) -> Any:
    """A FILE_OBJECT for `device`; NULL if memory is short."""
    body = nt.ob.create(nt.io.file_type, FILE_OBJECT.size, None, "File")
    file = FILE_OBJECT.at(nt.mmu, body)
    if not body:
        return file
    v = file._v
    v.Type, v.Size, v.DeviceObject = IO_TYPE_FILE, FILE_OBJECT.size, int(device)
    synchronous = options & (c.FILE_SYNCHRONOUS_IO_ALERT | c.FILE_SYNCHRONOUS_IO_NONALERT)
    v.Flags = c.FO_SYNCHRONOUS_IO if synchronous else 0
    v.Flags |= c.FO_ALERTABLE_IO if options & c.FILE_SYNCHRONOUS_IO_ALERT else 0
    v.ReadAccess, v.WriteAccess = bool(access & 1), bool(access & 6)
    v.SharedRead, v.SharedWrite, v.SharedDelete = share & 1, share >> 1 & 1, share >> 2 & 1
    lists.initialize(nt.mmu, int(file.IrpList))
    KeInitializeEvent(nt, file.Lock, 1, False)
    KeInitializeEvent(nt, file.Event, 0, False)
    if name:
        data = name.encode("utf-16-le")
        buffer = nt.allocate_pool(len(data) + 2, "IoNm")
        nt.mmu.write(buffer, data + b"\0\0")
        set_unicode(file.FileName, buffer, len(data))
    return file


def iop_internal_irp(nt: Kernel, file: Any, major: int, flags: int) -> Any:
    """An IRP of the I/O manager itself for a file."""
    device = iop_top_of(nt, file.DeviceObject)
    irp = io_allocate_irp(nt, device._v.StackSize)
    assert irp, "no memory for an IRP of the I/O manager"
    v = irp._v
    v.Flags = flags | c.IRP_SYNCHRONOUS_API
    v.RequestorMode = nt.thread.v.PreviousMode if major == c.IRP_MJ_CREATE else 0
    v.Tail_Overlay_OriginalFileObject = int(file)
    nt.ob.reference(int(file))
    stack = io_next_location(nt, irp)._v
    stack.MajorFunction, stack.FileObject = major, int(file)
    return irp


def iop_call_and_wait(nt: Kernel, file: Any, irp: Any) -> tuple[int, int]:
    """Send an internal IRP and wait for it whatever the handle says; (status, Information)."""
    block = nt.allocate_pool(0x30, "IoSb")
    nt.mmu.write(block, bytes(0x30))
    event = KEVENT.at(nt.mmu, block + 0x10)
    KeInitializeEvent(nt, event, 1, False)
    v = irp._v
    v.UserIosb, v.UserEvent = block, int(event)
    device = iop_top_of(nt, file.DeviceObject)
    queue_to_thread(nt, irp)
    status = IofCallDriver(nt, device, irp)
    if status == ntstatus.STATUS_PENDING:
        ki_wait(nt, [int(event)], WAIT_ANY, 0, 0, False, None)
        status = int.from_bytes(nt.mmu.read(block, 4), "little")
    information = int.from_bytes(nt.mmu.read(block + 8, 8), "little")
    nt.free_pool(block)
    return status, information


def iop_close_handle(nt: Kernel, body: int, process: Any, last: bool) -> None:
    """A handle to a file was closed; with the last one the driver gets IRP_MJ_CLEANUP.

    A synchronous file's requests come first: closing waits for the one under way.
    """
    file = FILE_OBJECT.at(nt.mmu, body)
    if not last or not file._v.DeviceObject:
        return
    synchronous = file._v.Flags & c.FO_SYNCHRONOUS_IO
    if synchronous:
        iop_acquire_file_lock(nt, file, 0, False)
    irp = iop_internal_irp(nt, file, c.IRP_MJ_CLEANUP, c.IRP_CLOSE_OPERATION)
    iop_call_and_wait(nt, file, irp)
    if synchronous:
        iop_release_file_lock(nt, file)
    file._v.Flags |= c.FO_CLEANUP_COMPLETE


def iop_delete_file(nt: Kernel, body: int) -> None:
    """The last reference to a file is gone: IRP_MJ_CLOSE, then the device's open count."""
    file = FILE_OBJECT.at(nt.mmu, body)
    v = file._v
    if v.DeviceObject:
        device = file.DeviceObject
        nt.ob.header(body)._v.PointerCount = 1
        irp = iop_internal_irp(nt, file, c.IRP_MJ_CLOSE, c.IRP_CLOSE_OPERATION)
        nt.ob.reference(body)
        iop_call_and_wait(nt, file, irp)
        iop_dereference_device(nt, device)
    iop_leave_port(nt, file)
    if v.FileName_Buffer:
        nt.free_pool(v.FileName_Buffer)
