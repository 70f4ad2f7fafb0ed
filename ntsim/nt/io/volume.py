"""File systems' own requests: control of a volume, what it says of itself, deleting by name.

Source: WDK ZwFsControlFile, ZwQueryVolumeInformationFile, ZwSetVolumeInformationFile, ZwDeleteFile;
ReactOS ntoskrnl/io/iomgr/iofunc.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.scalars import HANDLE, NTSTATUS, PIO_APC_ROUTINE, PVOID, ULONG
from ntsim.nt.ex.arguments import Attributes, in_kernel_mode, write_result
from ntsim.nt.ex.events import driver_attributes
from ntsim.nt.exports import export
from ntsim.nt.io.control import iop_xxx_control_file
from ntsim.nt.io.file_lock import iop_enter_file
from ntsim.nt.io.open import OpenRequest
from ntsim.nt.io.request import iop_let_go, iop_reference_file
from ntsim.nt.io.services import iop_create_file, iop_information, iop_write_status
from ntsim.nt.ob.handles import ob_close
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.abi.io import PIO_STATUS_BLOCK
    from ntsim.abi.rtl import POBJECT_ATTRIBUTES
    from ntsim.nt.kernel import Kernel

DELETE = 0x1_0000
VPB_MOUNTED, FILE_DEVICE_IS_MOUNTED = 1, 0x20
LABEL, DEVICE, CONTROL, OBJECT_ID = 2, 4, 6, 8
_QUERY_SIZES = {1: 24, 3: 24, 4: 8, 5: 16, 6: 48, 7: 32, 8: 64, 10: 4, 11: 28}
"""Least buffer length by FS_INFORMATION_CLASS."""
_SET_SIZES = {LABEL: 8, CONTROL: 48, OBJECT_ID: 64}
_QUERY_ACCESS = {CONTROL: 1, OBJECT_ID: 0}
_SET_ACCESS = 2
"""FILE_READ_DATA, FILE_WRITE_DATA."""


def NtFsControlFile(
    nt: Kernel,
    FileHandle: HANDLE,
    Event: HANDLE,
    ApcRoutine: PVOID,
    ApcContext: PVOID,
    IoStatusBlock: PVOID,
    FsControlCode: ULONG,
    InputBuffer: PVOID,
    InputBufferLength: ULONG,
    OutputBuffer: PVOID,
    OutputBufferLength: ULONG,
) -> NTSTATUS:
    """Send IRP_MJ_FILE_SYSTEM_CONTROL, IRP_MN_USER_FS_REQUEST, on a handle."""
    return iop_xxx_control_file(
        nt, FileHandle, Event, ApcRoutine, ApcContext, IoStatusBlock, FsControlCode,
        InputBuffer, InputBufferLength, OutputBuffer, OutputBufferLength,
        c.IRP_MJ_FILE_SYSTEM_CONTROL,
    )  # fmt: skip


@export(irql="== PASSIVE")
def ZwFsControlFile(
    nt: Kernel,
    FileHandle: HANDLE,
    Event: HANDLE,
    ApcRoutine: PIO_APC_ROUTINE,
    ApcContext: PVOID,
    IoStatusBlock: PIO_STATUS_BLOCK,
    FsControlCode: ULONG,
    InputBuffer: PVOID,
    InputBufferLength: ULONG,
    OutputBuffer: PVOID,
    OutputBufferLength: ULONG,
) -> NTSTATUS:
    """Send IRP_MJ_FILE_SYSTEM_CONTROL on a handle. Source: WDK ZwFsControlFile."""
    return in_kernel_mode(
        nt, NtFsControlFile, FileHandle, Event, ApcRoutine, ApcContext, int(IoStatusBlock),
        FsControlCode, int(InputBuffer), InputBufferLength, int(OutputBuffer), OutputBufferLength,
    )  # fmt: skip


def iop_device_information(file: Any) -> bytes | None:
    """FILE_FS_DEVICE_INFORMATION of a device without a mounted volume; None: ask the volume."""
    device = file.DeviceObject
    v = device._v
    vpb = device.Vpb
    if vpb and vpb.Flags & VPB_MOUNTED:
        return None
    return struct.pack("<II", v.DeviceType & 0xFFFF_FFFF, v.Characteristics & 0xFFFF_FFFF)


def iop_volume_information(
    nt: Kernel, handle: int, block: int, buffer: int, length: int, kind: int, querying: bool
) -> int:
    """Ask a volume, or change something about it."""
    sizes = _QUERY_SIZES if querying else _SET_SIZES
    if kind not in sizes:
        return ntstatus.STATUS_INVALID_INFO_CLASS
    if length < sizes[kind]:
        return ntstatus.STATUS_INFO_LENGTH_MISMATCH
    status, file, granted = iop_reference_file(nt, handle, 0)
    if status:
        return status
    needed = _QUERY_ACCESS.get(kind, 0) if querying else _SET_ACCESS
    if nt.thread.v.PreviousMode and needed & ~granted:
        nt.io.irp_done(file)
        return ntstatus.STATUS_ACCESS_DENIED
    status = iop_enter_file(nt, file)
    if status:
        nt.io.irp_done(file)
        return status
    known = iop_device_information(file) if querying and kind == DEVICE else None
    if known is None:
        query, change = c.IRP_MJ_QUERY_VOLUME_INFORMATION, c.IRP_MJ_SET_VOLUME_INFORMATION
        major = query if querying else change
        return iop_information(nt, file, block, buffer, length, kind, major)
    try:
        write_result(nt, buffer, known)
        iop_write_status(nt, block, status, len(known))
    except StructuredException as error:
        status = error.ExceptionCode
    iop_let_go(nt, file, None)
    return status


def NtQueryVolumeInformationFile(
    nt: Kernel,
    FileHandle: HANDLE,
    IoStatusBlock: PVOID,
    FsInformation: PVOID,
    Length: ULONG,
    FsInformationClass: ULONG,
) -> NTSTATUS:
    """What a volume says of itself: IRP_MJ_QUERY_VOLUME_INFORMATION."""
    rest = (FsInformation, Length, FsInformationClass)
    return iop_volume_information(nt, FileHandle, IoStatusBlock, *rest, True)


def NtSetVolumeInformationFile(
    nt: Kernel,
    FileHandle: HANDLE,
    IoStatusBlock: PVOID,
    FsInformation: PVOID,
    Length: ULONG,
    FsInformationClass: ULONG,
) -> NTSTATUS:
    """Change a volume's label, quota control or object id: IRP_MJ_SET_VOLUME_INFORMATION."""
    rest = (FsInformation, Length, FsInformationClass)
    return iop_volume_information(nt, FileHandle, IoStatusBlock, *rest, False)


@export(irql="== PASSIVE")
def ZwQueryVolumeInformationFile(
    nt: Kernel,
    FileHandle: HANDLE,
    IoStatusBlock: PIO_STATUS_BLOCK,
    FsInformation: PVOID,
    Length: ULONG,
    FsInformationClass: ULONG,
) -> NTSTATUS:
    """Ask a volume; type and characteristics of an unmounted device are the I/O manager's answer.

    STATUS_INVALID_INFO_CLASS, STATUS_INFO_LENGTH_MISMATCH. Source: WDK.
    """
    rest = (int(FsInformation), Length, FsInformationClass)
    return in_kernel_mode(
        nt, NtQueryVolumeInformationFile, FileHandle, int(IoStatusBlock), *rest
    )


@export(irql="== PASSIVE")
def ZwSetVolumeInformationFile(
    nt: Kernel,
    FileHandle: HANDLE,
    IoStatusBlock: PIO_STATUS_BLOCK,
    FsInformation: PVOID,
    Length: ULONG,
    FsInformationClass: ULONG,
) -> NTSTATUS:
    """Change something about a volume. Source: WDK ZwSetVolumeInformationFile."""
    rest = (int(FsInformation), Length, FsInformationClass)
    return in_kernel_mode(nt, NtSetVolumeInformationFile, FileHandle, int(IoStatusBlock), *rest)


def iop_delete_file(nt: Kernel, attributes: Attributes) -> int:
    """Open a file to be deleted on close, and close it."""
    shared = c.FILE_SHARE_READ | c.FILE_SHARE_WRITE | c.FILE_SHARE_DELETE
    options = c.FILE_DELETE_ON_CLOSE
    request = OpenRequest(DELETE, shared, c.FILE_OPEN, options, 0, 0, b"", False)
    status, handle = iop_create_file(nt, attributes, request)
    if handle:
        ob_close(nt, handle)
    return status


@export(irql="== PASSIVE")
def ZwDeleteFile(nt: Kernel, ObjectAttributes: POBJECT_ATTRIBUTES) -> NTSTATUS:
    """Delete a file by name: its file system gets a create with FILE_DELETE_ON_CLOSE, then cleanup
    and close. Source: WDK ZwDeleteFile.
    """
    return in_kernel_mode(nt, iop_delete_file, driver_attributes(nt, ObjectAttributes))
