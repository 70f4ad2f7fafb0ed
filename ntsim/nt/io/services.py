"""Opening, querying and flushing files by system call. Source: WDK ZwCreateFile, ZwOpenFile,
ZwQueryInformationFile, ZwSetInformationFile, ZwFlushBuffersFile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.io import IO_STATUS_BLOCK
from ntsim.abi.scalars import ACCESS_MASK, HANDLE, NTSTATUS, PVOID, ULONG
from ntsim.nt.ex.arguments import (
    Attributes,
    read_argument,
    read_attributes,
    read_number,
    write_number,
    write_result,
)
from ntsim.nt.io.completion_port import (
    COMPLETION_INFORMATION,
    NOTIFICATION_INFORMATION,
    iop_set_completion,
)
from ntsim.nt.io.control import iop_abandon_irp
from ntsim.nt.io.device import iop_top_of_file
from ntsim.nt.io.file_lock import iop_enter_file
from ntsim.nt.io.irp import io_next_location
from ntsim.nt.io.open import OpenRequest, iop_open, iop_related_file
from ntsim.nt.io.request import (
    iop_let_go,
    iop_new_irp,
    iop_probe_status_block,
    iop_reference_file,
    iop_send,
    iop_wait_for,
)
from ntsim.nt.mm.probe import mm_probe
from ntsim.nt.ob.handles import ob_reference_by_handle
from ntsim.nt.ob.insert import ob_insert_handle
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

SYNCHRONIZE, DELETE = 0x10_0000, 0x1_0000
FILE_READ_DATA, FILE_WRITE_DATA, FILE_APPEND_DATA = 1, 2, 4
_SYNCHRONOUS = c.FILE_SYNCHRONOUS_IO_ALERT | c.FILE_SYNCHRONOUS_IO_NONALERT
ACCESS_INFORMATION, POSITION_INFORMATION, MODE_INFORMATION, ALIGNMENT_INFORMATION = 8, 14, 16, 17
_SIZES = {4: 40, 5: 24, 6: 8, 7: 4, 8: 4, 9: 8, 10: 24, 13: 1, 14: 8, 16: 4, 17: 4, 18: 104}
_SIZES |= {19: 8, 20: 8, 22: 24, 34: 56, 35: 8}
"""Least buffer length by FILE_INFORMATION_CLASS."""


def iop_create_file(
    nt: Kernel, attributes: Attributes, request: OpenRequest
) -> tuple[int, int]:
    """(status, handle): the open that NtCreateFile, ZwCreateFile and IoCreateFile do."""
    if request.options & _SYNCHRONOUS and not request.access & (SYNCHRONIZE | 0xF000_0000):
        return ntstatus.STATUS_INVALID_PARAMETER, 0
    if nt.thread.v.PreviousMode and not iop_valid_parameters(request):
        return ntstatus.STATUS_INVALID_PARAMETER, 0
    path, status = attributes.name, 0
    request.check = request.check or bool(attributes.flags & c.OBJ_FORCE_ACCESS_CHECK)
    if attributes.root:
        status, path, request.related = iop_relative(nt, attributes)
        if status:
            return status, 0
    status, handle = iop_open(nt, path, request)
    if request.related:
        nt.ob.dereference(int(request.related))
    if handle and attributes.flags & c.OBJ_KERNEL_HANDLE:
        handle = iop_to_kernel_handle(nt, handle, attributes.flags)
    return status, handle


def iop_valid_parameters(request: OpenRequest) -> bool:
    """Whether the numbers of an open fit together; kernel callers are not asked.

    Source: WDK ZwCreateFile; ReactOS ntoskrnl/io/iomgr/file.c IopCreateFile.
    """
    options, access = request.options, request.access
    if request.share & ~7 or request.disposition > c.FILE_OVERWRITE_IF:
        return False
    if options & ~c.FILE_VALID_OPTION_FLAGS or options & _SYNCHRONOUS == _SYNCHRONOUS:
        return False
    if options & c.FILE_DELETE_ON_CLOSE and not access & (DELETE | 0xF000_0000):
        return False
    if options & c.FILE_NO_INTERMEDIATE_BUFFERING and access & FILE_APPEND_DATA:
        return False
    if options & c.FILE_DIRECTORY_FILE and not options & c.FILE_NON_DIRECTORY_FILE:
        return request.disposition in (c.FILE_CREATE, c.FILE_OPEN, c.FILE_OPEN_IF)
    return not (options & c.FILE_COMPLETE_IF_OPLOCKED and options & c.FILE_RESERVE_OPFILTER)


def iop_relative(nt: Kernel, attributes: Attributes) -> tuple[int, str, Any]:
    """(status, path, related file) of a name relative to an object directory or an open file."""
    status, path = iop_relative_path(nt, attributes)
    if status != ntstatus.STATUS_OBJECT_TYPE_MISMATCH:
        return status, path, None
    status, file = iop_related_file(nt, attributes.root)
    return status, attributes.name, file if not status else None


def iop_relative_path(nt: Kernel, attributes: Attributes) -> tuple[int, str]:
    """(status, absolute path) of a name relative to an object directory."""
    mode, kind = nt.thread.v.PreviousMode, nt.ob.types["Directory"]
    status, body, _ = ob_reference_by_handle(nt, attributes.root, 0, kind, mode)
    if status:
        return status, ""
    path = f"{nt.ob.full_name(body)}\\{attributes.name}"
    nt.ob.dereference(body)
    return status, path


def iop_to_kernel_handle(nt: Kernel, handle: int, attributes: int) -> int:
    """Move a handle of the current process to the kernel's table."""
    table = nt.ps.current_process().handles
    found = table.lookup(handle)
    assert found is not None, f"{handle:#x} was opened just now"
    made = ob_insert_handle(nt, *found, attributes)
    table.close(handle)
    return made


def NtCreateFile(
    nt: Kernel,
    FileHandle: PVOID,
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: PVOID,
    IoStatusBlock: PVOID,
    AllocationSize: PVOID,
    FileAttributes: ULONG,
    ShareAccess: ULONG,
    CreateDisposition: ULONG,
    CreateOptions: ULONG,
    EaBuffer: PVOID,
    EaLength: ULONG,
) -> NTSTATUS:
    """Open a device or a file on it. Source: WDK ZwCreateFile."""
    try:
        iop_probe_status_block(nt, IoStatusBlock)
        mm_probe(nt, FileHandle, 8, 1)
        attributes = read_attributes(nt, ObjectAttributes)
        allocation = read_number(nt, AllocationSize, 8) if AllocationSize else 0
        extended = read_argument(nt, EaBuffer, EaLength) if EaBuffer and EaLength else b""
    except StructuredException as error:
        return error.ExceptionCode
    request = OpenRequest(
        DesiredAccess, ShareAccess, CreateDisposition, CreateOptions, FileAttributes, allocation,
        extended,
    )  # fmt: skip
    status, handle = iop_create_file(nt, attributes, request)
    try:
        if handle:
            write_number(nt, FileHandle, handle)
            iop_write_status(nt, IoStatusBlock, status, request.information)
    except StructuredException as error:
        return error.ExceptionCode
    return status


def NtOpenFile(
    nt: Kernel,
    FileHandle: PVOID,
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: PVOID,
    IoStatusBlock: PVOID,
    ShareAccess: ULONG,
    OpenOptions: ULONG,
) -> NTSTATUS:
    """NtCreateFile of something that exists. Source: WDK ZwOpenFile."""
    return NtCreateFile(
        nt, FileHandle, DesiredAccess, ObjectAttributes, IoStatusBlock, 0, 0, ShareAccess,
        c.FILE_OPEN, OpenOptions, 0, 0,
    )  # fmt: skip


def iop_write_status(nt: Kernel, block: int, status: int, information: int) -> None:
    """Fill a caller's I/O status block."""
    made = IO_STATUS_BLOCK.at(nt.mmu, block)
    made.Information = information
    made.Status = status


def NtQueryInformationFile(
    nt: Kernel,
    FileHandle: HANDLE,
    IoStatusBlock: PVOID,
    FileInformation: PVOID,
    Length: ULONG,
    FileInformationClass: ULONG,
) -> NTSTATUS:
    """What the I/O manager knows of a file itself; the rest is IRP_MJ_QUERY_INFORMATION."""
    status, file, granted = iop_reference_file(nt, FileHandle, 0)
    if status:
        return status
    status = iop_check_class(FileInformationClass, Length)
    if status:
        nt.io.irp_done(file)
        return status
    status = iop_enter_file(nt, file)
    if status:
        nt.io.irp_done(file)
        return status
    known = iop_known_information(file, granted, FileInformationClass)
    if known is None:
        return iop_information(
            nt, file, IoStatusBlock, FileInformation, Length, FileInformationClass,
            c.IRP_MJ_QUERY_INFORMATION,
        )  # fmt: skip
    try:
        write_result(nt, FileInformation, known)
        iop_write_status(nt, IoStatusBlock, status, len(known))
    except StructuredException as error:
        status = error.ExceptionCode
    iop_let_go(nt, file, None)
    return status


def iop_check_class(kind: int, length: int) -> int:
    """A class that exists, in a buffer that can hold it."""
    if kind not in _SIZES:
        return ntstatus.STATUS_INVALID_INFO_CLASS
    if length < _SIZES[kind]:
        return ntstatus.STATUS_INFO_LENGTH_MISMATCH
    return ntstatus.STATUS_SUCCESS


def iop_known_information(file: Any, granted: int, kind: int) -> bytes | None:
    """The answer of the I/O manager itself, None where only the driver knows."""
    if kind == ACCESS_INFORMATION:
        return int(granted).to_bytes(4, "little")
    if kind == POSITION_INFORMATION and file._v.Flags & c.FO_SYNCHRONOUS_IO:
        return int(file.CurrentByteOffset.QuadPart).to_bytes(8, "little")
    if kind == MODE_INFORMATION:
        synchronous = file._v.Flags & c.FO_SYNCHRONOUS_IO
        alertable = file._v.Flags & c.FO_ALERTABLE_IO
        mode = c.FILE_SYNCHRONOUS_IO_ALERT if alertable else c.FILE_SYNCHRONOUS_IO_NONALERT
        return (mode if synchronous else 0).to_bytes(4, "little")
    if kind == ALIGNMENT_INFORMATION:
        return int(file.DeviceObject.AlignmentRequirement).to_bytes(4, "little")
    return None


def NtSetInformationFile(
    nt: Kernel,
    FileHandle: HANDLE,
    IoStatusBlock: PVOID,
    FileInformation: PVOID,
    Length: ULONG,
    FileInformationClass: ULONG,
) -> NTSTATUS:
    """The position of a synchronous file, the file's completion port; everything else is
    IRP_MJ_SET_INFORMATION."""
    status, file, _ = iop_reference_file(nt, FileHandle, 0)
    if status:
        return status
    if FileInformationClass in (COMPLETION_INFORMATION, NOTIFICATION_INFORMATION):
        status = iop_set_completion(nt, file, FileInformation, Length, FileInformationClass)
        nt.io.irp_done(file)
        return status
    status = iop_check_class(FileInformationClass, Length)
    if status:
        nt.io.irp_done(file)
        return status
    status = iop_enter_file(nt, file)
    if status:
        nt.io.irp_done(file)
        return status
    position = FileInformationClass == POSITION_INFORMATION
    if not position or not file._v.Flags & c.FO_SYNCHRONOUS_IO:
        return iop_information(
            nt, file, IoStatusBlock, FileInformation, Length, FileInformationClass,
            c.IRP_MJ_SET_INFORMATION,
        )  # fmt: skip
    try:
        file.CurrentByteOffset.QuadPart = read_number(nt, FileInformation, 8, signed=True)
        iop_write_status(nt, IoStatusBlock, status, 0)
    except StructuredException as error:
        status = error.ExceptionCode
    iop_let_go(nt, file, None)
    return status


def iop_information(
    nt: Kernel, file: Any, block: int, buffer: int, length: int, kind: int, major: int
) -> int:
    """Send IRP_MJ_QUERY_INFORMATION, IRP_MJ_SET_INFORMATION or that of volumes, and wait for it.

    The caller has entered the file.
    """
    querying = major in (c.IRP_MJ_QUERY_INFORMATION, c.IRP_MJ_QUERY_VOLUME_INFORMATION)
    irp = None
    try:
        irp = iop_probed_irp(nt, file, major, block)
        if nt.thread.v.PreviousMode:
            mm_probe(nt, buffer, length, 1)
        v = irp._v
        v.AssociatedIrp_SystemBuffer = system = nt.ex.pool.allocate(length, "IoSB")
        if not system:
            raise StructuredException(ntstatus.STATUS_INSUFFICIENT_RESOURCES, reason="buffer")
        v.Flags = c.IRP_BUFFERED_IO | c.IRP_DEALLOCATE_BUFFER
        if querying:
            v.Flags |= c.IRP_INPUT_OPERATION
            v.UserBuffer = buffer
            nt.mmu.write(system, bytes(length))
        else:
            nt.mmu.write(system, nt.mmu.read(buffer, length))
    except StructuredException as error:
        iop_abandon_irp(nt, irp)
        iop_let_go(nt, file, None)
        return error.ExceptionCode
    stack = io_next_location(nt, irp)._v
    stack.Parameters_QueryFile_Length = length
    stack.Parameters_QueryFile_FileInformationClass = kind
    return iop_send_and_wait(nt, file, irp)


def iop_probed_irp(nt: Kernel, file: Any, major: int, block: int) -> Any:
    """An IRP whose status block was probed; raises if memory is short."""
    if nt.thread.v.PreviousMode:
        iop_probe_status_block(nt, block)
    device = iop_top_of_file(nt, file)
    irp = iop_new_irp(nt, file, device, major, block, None)
    if not irp:
        raise StructuredException(ntstatus.STATUS_INSUFFICIENT_RESOURCES, reason="IRP")
    return irp


def iop_send_and_wait(nt: Kernel, file: Any, irp: Any) -> int:
    """For services that are synchronous on every handle."""
    status = iop_send(nt, file, iop_top_of_file(nt, file), irp)
    if status == ntstatus.STATUS_PENDING:
        status = iop_wait_for(nt, file, irp)
    return status


def NtFlushBuffersFile(nt: Kernel, FileHandle: HANDLE, IoStatusBlock: PVOID) -> NTSTATUS:
    """Send IRP_MJ_FLUSH_BUFFERS on a handle opened for writing."""
    status, file, granted = iop_reference_file(nt, FileHandle, 0)
    if status:
        return status
    if nt.thread.v.PreviousMode and not granted & (FILE_WRITE_DATA | FILE_APPEND_DATA):
        nt.io.irp_done(file)
        return ntstatus.STATUS_ACCESS_DENIED
    status = iop_enter_file(nt, file)
    if status:
        nt.io.irp_done(file)
        return status
    try:
        irp = iop_probed_irp(nt, file, c.IRP_MJ_FLUSH_BUFFERS, IoStatusBlock)
    except StructuredException as error:
        iop_let_go(nt, file, None)
        return error.ExceptionCode
    return iop_send_and_wait(nt, file, irp)
