"""NtReadFile and NtWriteFile: buffered, direct or neither, as the device's flags say.

Source: WDK "Methods for Accessing Data Buffers"; NtReadFile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.mm import MDL
from ntsim.abi.scalars import HANDLE, NTSTATUS, PVOID, ULONG
from ntsim.nt.ex.arguments import read_number
from ntsim.nt.ex.pool import POISON_BYTE
from ntsim.nt.io.control import iop_abandon_irp
from ntsim.nt.io.device import iop_top_of_file
from ntsim.nt.io.file_lock import iop_enter_file
from ntsim.nt.io.irp import io_next_location
from ntsim.nt.io.request import (
    iop_drop,
    iop_let_go,
    iop_new_irp,
    iop_probe_status_block,
    iop_reference_event,
    iop_reference_file,
    iop_send,
)
from ntsim.nt.mm.mdl import mm_allocate_mdl, mm_lock_pages
from ntsim.nt.mm.probe import mm_probe
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

FILE_READ_DATA, FILE_WRITE_DATA, FILE_APPEND_DATA = 1, 2, 4
_FILE_POINTER = -2
"""FILE_USE_FILE_POINTER_POSITION in LowPart, -1 in HighPart."""


def NtReadFile(
    nt: Kernel,
    FileHandle: HANDLE,
    Event: HANDLE,
    ApcRoutine: PVOID,
    ApcContext: PVOID,
    IoStatusBlock: PVOID,
    Buffer: PVOID,
    Length: ULONG,
    ByteOffset: PVOID,
    Key: ULONG,
) -> NTSTATUS:
    """Send IRP_MJ_READ on a handle opened for reading. Source: WDK NtReadFile."""
    return iop_transfer(
        nt, FileHandle, Event, (ApcRoutine, ApcContext), IoStatusBlock, Buffer, Length, ByteOffset,
        c.IRP_MJ_READ,
    )  # fmt: skip


def NtWriteFile(
    nt: Kernel,
    FileHandle: HANDLE,
    Event: HANDLE,
    ApcRoutine: PVOID,
    ApcContext: PVOID,
    IoStatusBlock: PVOID,
    Buffer: PVOID,
    Length: ULONG,
    ByteOffset: PVOID,
    Key: ULONG,
) -> NTSTATUS:
    """Send IRP_MJ_WRITE on a handle opened for writing. Source: WDK NtWriteFile."""
    return iop_transfer(
        nt, FileHandle, Event, (ApcRoutine, ApcContext), IoStatusBlock, Buffer, Length, ByteOffset,
        c.IRP_MJ_WRITE,
    )  # fmt: skip


def iop_transfer(
    nt: Kernel, handle: int, event_handle: int, apc: tuple[int, int], block: int, buffer: int,
    length: int, byte_offset: int, major: int,
) -> int:  # fmt: skip
    """The common part of a read and a write.

    Without a pointer to the offset a synchronous file has a current position, which its driver
    moves; elsewhere the parameter must be there. Source: WDK NtReadFile, ByteOffset.
    """
    reading = major == c.IRP_MJ_READ
    status, file, granted = iop_reference_file(nt, handle, 0)
    if status:
        return status
    needed = FILE_READ_DATA if reading else FILE_WRITE_DATA | FILE_APPEND_DATA
    if not granted & needed and nt.thread.v.PreviousMode:
        nt.io.irp_done(file)
        return ntstatus.STATUS_ACCESS_DENIED
    try:
        offset = read_number(nt, byte_offset, 8, signed=True) if byte_offset else None
    except StructuredException as error:
        nt.io.irp_done(file)
        return error.ExceptionCode
    status, event = iop_reference_event(nt, event_handle)
    if status:
        nt.io.irp_done(file)
        return status
    status = iop_enter_file(nt, file)
    if status:
        iop_drop(nt, file, event)
        return status
    v = file._v
    if v.Flags & c.FO_SYNCHRONOUS_IO:
        if offset is None or offset == _FILE_POINTER:
            offset = v.CurrentByteOffset_QuadPart
    elif offset is None:
        if not v.Flags & (c.FO_NAMED_PIPE | c.FO_MAILSLOT):
            iop_drop(nt, file, event)
            return ntstatus.STATUS_INVALID_PARAMETER
        offset = 0
    irp = None
    try:
        if nt.thread.v.PreviousMode:
            iop_probe_status_block(nt, block)
            mm_probe(nt, buffer, length, 1)
        device = iop_top_of_file(nt, file)
        irp = iop_new_irp(nt, file, device, major, block, event)
        if not irp:
            iop_let_go(nt, file, event)
            return ntstatus.STATUS_INSUFFICIENT_RESOURCES
        v = irp._v
        v.Overlay_AsynchronousParameters_UserApcRoutine = apc[0]
        v.Overlay_AsynchronousParameters_UserApcContext = apc[1]
        stack = io_next_location(nt, irp)._v
        stack.Parameters_Read_Length = length
        stack.Parameters_Read_ByteOffset_QuadPart = offset
        iop_attach_buffer(nt, v, device._v.Flags, reading, buffer, length)
    except StructuredException as error:
        iop_abandon_irp(nt, irp)
        iop_let_go(nt, file, event)
        return error.ExceptionCode
    return iop_send(nt, file, device, irp)


def iop_attach_buffer(
    nt: Kernel, v: Any, flags: int, reading: bool, buffer: int, length: int
) -> None:
    """Give the IRP its data by the device's method."""
    v.Flags = c.IRP_READ_OPERATION if reading else c.IRP_WRITE_OPERATION
    if not length:
        return
    if flags & c.DO_BUFFERED_IO:
        _attach_system_buffer(nt, v, reading, buffer, length)
    elif flags & c.DO_DIRECT_IO:
        v.MdlAddress = mm_allocate_mdl(nt, buffer, length)
        if not v.MdlAddress:
            raise StructuredException(ntstatus.STATUS_INSUFFICIENT_RESOURCES, reason="MDL")
        operation = 1 if reading else 0
        mm_lock_pages(nt, MDL.at(nt.mmu, v.MdlAddress), v.RequestorMode, operation)
    else:
        v.UserBuffer = buffer


def _attach_system_buffer(nt: Kernel, v: Any, reading: bool, buffer: int, length: int) -> None:
    system = nt.ex.pool.allocate_buffer(length)
    if not system:
        raise StructuredException(ntstatus.STATUS_INSUFFICIENT_RESOURCES, reason="system buffer")
    v.AssociatedIrp_SystemBuffer = system
    v.UserBuffer = buffer
    v.Flags |= c.IRP_BUFFERED_IO | c.IRP_DEALLOCATE_BUFFER
    if reading:
        v.Flags |= c.IRP_INPUT_OPERATION
        nt.mmu.write(system, POISON_BYTE * length)
    else:
        nt.mmu.write(system, nt.mmu.read(buffer, length))
