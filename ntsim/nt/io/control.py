"""NtDeviceIoControlFile: the four transfer methods.

Access bits of the code (15:14) are checked against the handle. METHOD_BUFFERED allocates one buffer
for both directions; the direct methods copy the input and lock the caller's output buffer (for
reading with METHOD_IN_DIRECT, for writing with METHOD_OUT_DIRECT); METHOD_NEITHER passes addresses
unchecked. Zero lengths give no buffer and no MDL. Source: WDK "Buffer Descriptions for I/O Control
Codes"; Wine ntoskrnl tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.mm import MDL
from ntsim.abi.scalars import HANDLE, NTSTATUS, PVOID, ULONG
from ntsim.hw.mmu import WRITE
from ntsim.nt.ex.pool import POISON_BYTE
from ntsim.nt.io.device import iop_top_of_file
from ntsim.nt.io.fast import iop_fast_control, iop_fast_control_routine
from ntsim.nt.io.file_lock import iop_enter_file
from ntsim.nt.io.irp import io_free_irp, io_next_view
from ntsim.nt.io.request import (
    iop_drop,
    iop_let_go,
    iop_new_irp,
    iop_probe_status_block,
    iop_reference_event,
    iop_reference_file,
    iop_send,
)
from ntsim.nt.mm import layout
from ntsim.nt.mm.mdl import IoFreeMdl, mm_allocate_mdl, mm_lock_pages
from ntsim.nt.mm.probe import mm_probe
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

BUFFERED, IN_DIRECT, OUT_DIRECT, NEITHER = range(4)
FILE_READ_DATA, FILE_WRITE_DATA = 1, 2
_INPUT_FLAGS = c.IRP_BUFFERED_IO | c.IRP_DEALLOCATE_BUFFER | c.IRP_INPUT_OPERATION
_OUTPUT_FLAGS = c.IRP_BUFFERED_IO | c.IRP_DEALLOCATE_BUFFER


def NtDeviceIoControlFile(
    nt: Kernel,
    FileHandle: HANDLE,
    Event: HANDLE,
    ApcRoutine: PVOID,
    ApcContext: PVOID,
    IoStatusBlock: PVOID,
    IoControlCode: ULONG,
    InputBuffer: PVOID,
    InputBufferLength: ULONG,
    OutputBuffer: PVOID,
    OutputBufferLength: ULONG,
) -> NTSTATUS:
    """Send IRP_MJ_DEVICE_CONTROL on a handle. Source: WDK NtDeviceIoControlFile."""
    return iop_xxx_control_file(
        nt, FileHandle, Event, ApcRoutine, ApcContext, IoStatusBlock, IoControlCode,
        InputBuffer, InputBufferLength, OutputBuffer, OutputBufferLength,
        c.IRP_MJ_DEVICE_CONTROL,
    )  # fmt: skip


def iop_xxx_control_file(
    nt: Kernel,
    FileHandle: int,
    Event: int,
    ApcRoutine: int,
    ApcContext: int,
    IoStatusBlock: int,
    IoControlCode: int,
    InputBuffer: int,
    InputBufferLength: int,
    OutputBuffer: int,
    OutputBufferLength: int,
    major: int,
) -> int:
    """What device control and file-system control have in common: nt!IopXxxControlFile."""
    status, file, granted = iop_reference_file(nt, FileHandle, 0)
    if status:
        return status
    mode = nt.il.current.context.v.PreviousMode
    access = IoControlCode >> 14 & 3
    if access and access & ~granted and mode:
        nt.io.irp_done(file)
        return ntstatus.STATUS_ACCESS_DENIED
    event = None
    if Event:
        status, event = iop_reference_event(nt, Event)
        if status:
            nt.io.irp_done(file)
            return status
    device = iop_top_of_file(nt, file)
    fast = iop_fast_control_routine(nt, device)
    if fast and major == c.IRP_MJ_DEVICE_CONTROL:
        answer = iop_fast_control(
            nt, fast, file, device, event, IoStatusBlock, IoControlCode,
            InputBuffer, InputBufferLength, OutputBuffer, OutputBufferLength,
        )  # fmt: skip
        if answer is not None:
            iop_drop(nt, file, event)
            return answer
    status = iop_enter_file(nt, file)
    if status:
        iop_drop(nt, file, event)
        return status
    irp = None
    try:
        if mode:
            iop_probe_status_block(nt, IoStatusBlock)
        irp = iop_new_irp(nt, file, device, major, IoStatusBlock, event)
        if not irp:
            iop_let_go(nt, file, event)
            return ntstatus.STATUS_INSUFFICIENT_RESOURCES
        v = irp._v
        if ApcRoutine:
            v.Overlay_AsynchronousParameters_UserApcRoutine = ApcRoutine
        if ApcContext:
            v.Overlay_AsynchronousParameters_UserApcContext = ApcContext
        stack = io_next_view(nt, irp)
        stack.Parameters_DeviceIoControl_OutputBufferLength = OutputBufferLength
        stack.Parameters_DeviceIoControl_InputBufferLength = InputBufferLength
        stack.Parameters_DeviceIoControl_IoControlCode = IoControlCode
        method = IoControlCode & 3
        if method == NEITHER:
            stack.Parameters_DeviceIoControl_Type3InputBuffer = InputBuffer
            v.UserBuffer = OutputBuffer
        elif method == BUFFERED:
            iop_buffer(nt, v, InputBuffer, InputBufferLength, OutputBuffer, OutputBufferLength)
        else:
            iop_copy_input(nt, v, InputBuffer, InputBufferLength)
            iop_lock_output(nt, v, method, OutputBuffer, OutputBufferLength)
    except StructuredException as error:
        iop_abandon_irp(nt, irp)
        iop_let_go(nt, file, event)
        return error.ExceptionCode
    return iop_send(nt, file, device, irp)


def iop_buffer(nt: Kernel, v: Any, source: int, size: int, target: int, room: int) -> None:
    """METHOD_BUFFERED: one system buffer as long as the longer of the two."""
    if v.RequestorMode:
        if source + size > layout.MM_USER_PROBE_ADDRESS and size:
            mm_probe(nt, source, size, 1)
        if room:
            if target + room > layout.MM_USER_PROBE_ADDRESS:
                mm_probe(nt, target, room, 1)
            nt.mmu.host(target, WRITE, True)
    length = size if size > room else room
    if not length:
        return
    buffer = nt.ex.pool.allocate_buffer(length)
    if not buffer:
        raise StructuredException(ntstatus.STATUS_INSUFFICIENT_RESOURCES, reason="system buffer")
    v.AssociatedIrp_SystemBuffer = buffer
    v.Flags = _OUTPUT_FLAGS
    data = nt.mmu.read(source, size) if size else b""
    nt.mmu.write(buffer, data.ljust(length, POISON_BYTE))
    v.UserBuffer = target
    if room:
        v.Flags = _INPUT_FLAGS


def iop_copy_input(nt: Kernel, v: Any, source: int, size: int) -> None:
    """The direct methods' input comes in a system buffer."""
    if not size:
        return
    if v.RequestorMode:
        mm_probe(nt, source, size, 1)
    buffer = nt.ex.pool.allocate_buffer(size)
    if not buffer:
        raise StructuredException(ntstatus.STATUS_INSUFFICIENT_RESOURCES, reason="system buffer")
    v.AssociatedIrp_SystemBuffer = buffer
    v.Flags = _OUTPUT_FLAGS
    nt.mmu.write(buffer, nt.mmu.read(source, size))


def iop_lock_output(nt: Kernel, v: Any, method: int, target: int, room: int) -> None:
    """The direct methods' output buffer: an MDL of locked pages."""
    if not room:
        return
    address = mm_allocate_mdl(nt, target, room)
    if not address:
        raise StructuredException(ntstatus.STATUS_INSUFFICIENT_RESOURCES, reason="MDL")
    v.MdlAddress = address
    mdl = MDL.at(nt.mmu, address)
    mm_lock_pages(nt, mdl, v.RequestorMode, 0 if method == IN_DIRECT else 1)


def iop_abandon_irp(nt: Kernel, irp: Any) -> None:
    """Undo a half-built request."""
    if not irp:
        return
    v = irp._v
    if v.AssociatedIrp_SystemBuffer:
        nt.free_pool(v.AssociatedIrp_SystemBuffer)
    if v.MdlAddress:
        IoFreeMdl(nt, MDL.at(nt.mmu, v.MdlAddress))
    io_free_irp(nt, irp)
