"""File services as drivers call them: previous mode kernel, no access checks. Source: WDK Zw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.scalars import ACCESS_MASK, HANDLE, NTSTATUS, PIO_APC_ROUTINE, PVOID, ULONG
from ntsim.nt.ex.arguments import in_kernel_mode
from ntsim.nt.ex.events import driver_attributes
from ntsim.nt.exports import Out, export
from ntsim.nt.io.control import NtDeviceIoControlFile
from ntsim.nt.io.open import OpenRequest
from ntsim.nt.io.readwrite import NtReadFile, NtWriteFile
from ntsim.nt.io.services import (
    NtFlushBuffersFile,
    NtQueryInformationFile,
    NtSetInformationFile,
    iop_create_file,
    iop_valid_parameters,
    iop_write_status,
)

if TYPE_CHECKING:
    from ntsim.abi.io import PIO_STATUS_BLOCK
    from ntsim.abi.rtl import PLARGE_INTEGER, POBJECT_ATTRIBUTES
    from ntsim.nt.kernel import Kernel


@export(irql="== PASSIVE")
def ZwCreateFile(
    nt: Kernel,
    FileHandle: Out[HANDLE],
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: POBJECT_ATTRIBUTES,
    IoStatusBlock: PIO_STATUS_BLOCK,
    AllocationSize: PLARGE_INTEGER,
    FileAttributes: ULONG,
    ShareAccess: ULONG,
    CreateDisposition: ULONG,
    CreateOptions: ULONG,
    EaBuffer: PVOID,
    EaLength: ULONG,
) -> NTSTATUS:
    """Open a device or a file on it. Source: WDK ZwCreateFile."""
    return in_kernel_mode(
        nt, IoCreateFile, FileHandle, DesiredAccess, ObjectAttributes, IoStatusBlock,
        AllocationSize, FileAttributes, ShareAccess, CreateDisposition, CreateOptions, EaBuffer,
        EaLength, 0, 0, 0,
    )  # fmt: skip


@export(irql="== PASSIVE")
def IoCreateFile(
    nt: Kernel,
    FileHandle: Out[HANDLE],
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: POBJECT_ATTRIBUTES,
    IoStatusBlock: PIO_STATUS_BLOCK,
    AllocationSize: PLARGE_INTEGER,
    FileAttributes: ULONG,
    ShareAccess: ULONG,
    Disposition: ULONG,
    CreateOptions: ULONG,
    EaBuffer: PVOID,
    EaLength: ULONG,
    CreateFileType: ULONG,
    InternalParameters: PVOID,
    Options: ULONG,
) -> NTSTATUS:
    """What ZwCreateFile does, in the previous mode of the thread: access is checked for an app.

    IO_NO_PARAMETER_CHECKING acts as kernel mode, IO_FORCE_ACCESS_CHECK checks access even so,
    IO_CHECK_CREATE_PARAMETERS also the parameters. Named pipes and mailslots (CreateFileType 1, 2)
    need InternalParameters and their file systems. Source: WDK IoCreateFile; ReactOS
    ntoskrnl/io/iomgr/file.c.
    """
    if (CreateFileType and not InternalParameters) or CreateFileType > 2:
        return ntstatus.STATUS_INVALID_PARAMETER
    extended = nt.mmu.read(EaBuffer, EaLength) if EaBuffer and EaLength else b""
    allocation = AllocationSize.QuadPart if AllocationSize else 0
    request = OpenRequest(
        DesiredAccess, ShareAccess, Disposition, CreateOptions, FileAttributes, allocation,
        extended, bool(Options & c.IO_FORCE_ACCESS_CHECK),
    )  # fmt: skip
    if Options & c.IO_CHECK_CREATE_PARAMETERS and not iop_valid_parameters(request):
        return ntstatus.STATUS_INVALID_PARAMETER
    attributes = driver_attributes(nt, ObjectAttributes)
    if Options & c.IO_NO_PARAMETER_CHECKING:
        status, FileHandle[0] = in_kernel_mode(nt, iop_create_file, attributes, request)
    else:
        status, FileHandle[0] = iop_create_file(nt, attributes, request)
    if ntstatus.NT_SUCCESS(status):
        iop_write_status(nt, int(IoStatusBlock), status, request.information)
    return status


@export(irql="== PASSIVE")
def ZwOpenFile(
    nt: Kernel,
    FileHandle: Out[HANDLE],
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: POBJECT_ATTRIBUTES,
    IoStatusBlock: PIO_STATUS_BLOCK,
    ShareAccess: ULONG,
    OpenOptions: ULONG,
) -> NTSTATUS:
    """ZwCreateFile of something that exists. Source: WDK ZwOpenFile."""
    no_size: Any = None
    return ZwCreateFile(
        nt, FileHandle, DesiredAccess, ObjectAttributes, IoStatusBlock, no_size, 0, ShareAccess,
        c.FILE_OPEN, OpenOptions, 0, 0,
    )  # fmt: skip


@export(irql="== PASSIVE")
def ZwDeviceIoControlFile(
    nt: Kernel,
    FileHandle: HANDLE,
    Event: HANDLE,
    ApcRoutine: PIO_APC_ROUTINE,
    ApcContext: PVOID,
    IoStatusBlock: PIO_STATUS_BLOCK,
    IoControlCode: ULONG,
    InputBuffer: PVOID,
    InputBufferLength: ULONG,
    OutputBuffer: PVOID,
    OutputBufferLength: ULONG,
) -> NTSTATUS:
    """Send IRP_MJ_DEVICE_CONTROL on a handle. Source: WDK ZwDeviceIoControlFile."""
    return in_kernel_mode(
        nt, NtDeviceIoControlFile, FileHandle, Event, ApcRoutine, ApcContext, int(IoStatusBlock),
        IoControlCode, int(InputBuffer), InputBufferLength, int(OutputBuffer), OutputBufferLength,
    )  # fmt: skip


@export(irql="== PASSIVE")
def ZwReadFile(
    nt: Kernel,
    FileHandle: HANDLE,
    Event: HANDLE,
    ApcRoutine: PIO_APC_ROUTINE,
    ApcContext: PVOID,
    IoStatusBlock: PIO_STATUS_BLOCK,
    Buffer: PVOID,
    Length: ULONG,
    ByteOffset: PLARGE_INTEGER,
    Key: PVOID,
) -> NTSTATUS:
    """Send IRP_MJ_READ on a handle. Source: WDK ZwReadFile."""
    return in_kernel_mode(
        nt, NtReadFile, FileHandle, Event, ApcRoutine, ApcContext, int(IoStatusBlock), int(Buffer),
        Length, int(ByteOffset), 0,
    )  # fmt: skip


@export(irql="== PASSIVE")
def ZwWriteFile(
    nt: Kernel,
    FileHandle: HANDLE,
    Event: HANDLE,
    ApcRoutine: PIO_APC_ROUTINE,
    ApcContext: PVOID,
    IoStatusBlock: PIO_STATUS_BLOCK,
    Buffer: PVOID,
    Length: ULONG,
    ByteOffset: PLARGE_INTEGER,
    Key: PVOID,
) -> NTSTATUS:
    """Send IRP_MJ_WRITE on a handle. Source: WDK ZwWriteFile."""
    return in_kernel_mode(
        nt, NtWriteFile, FileHandle, Event, ApcRoutine, ApcContext, int(IoStatusBlock), int(Buffer),
        Length, int(ByteOffset), 0,
    )  # fmt: skip


@export(irql="== PASSIVE")
def ZwQueryInformationFile(
    nt: Kernel,
    FileHandle: HANDLE,
    IoStatusBlock: PIO_STATUS_BLOCK,
    FileInformation: PVOID,
    Length: ULONG,
    FileInformationClass: ULONG,
) -> NTSTATUS:
    """Ask about a file. Source: WDK ZwQueryInformationFile."""
    return in_kernel_mode(
        nt, NtQueryInformationFile, FileHandle, int(IoStatusBlock), int(FileInformation), Length,
        FileInformationClass,
    )  # fmt: skip


@export(irql="== PASSIVE")
def ZwSetInformationFile(
    nt: Kernel,
    FileHandle: HANDLE,
    IoStatusBlock: PIO_STATUS_BLOCK,
    FileInformation: PVOID,
    Length: ULONG,
    FileInformationClass: ULONG,
) -> NTSTATUS:
    """Change something about a file. Source: WDK ZwSetInformationFile."""
    return in_kernel_mode(
        nt, NtSetInformationFile, FileHandle, int(IoStatusBlock), int(FileInformation), Length,
        FileInformationClass,
    )  # fmt: skip


@export(irql="== PASSIVE")
def ZwFlushBuffersFile(nt: Kernel, FileHandle: HANDLE, IoStatusBlock: PIO_STATUS_BLOCK) -> NTSTATUS:
    """Send IRP_MJ_FLUSH_BUFFERS on a handle. Source: WDK ZwFlushBuffersFile."""
    return in_kernel_mode(nt, NtFlushBuffersFile, FileHandle, int(IoStatusBlock))
