"""DOS names of volumes, as the mount manager knows them.

Source: WDK IoVolumeDeviceToDosName; mountmgr.h MOUNTMGR_VOLUME_PATHS; mountdev.h MOUNTDEV_NAME;
ReactOS ntoskrnl/io/iomgr/volume.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.io import DEVICE_OBJECT, IO_STATUS_BLOCK
from ntsim.abi.ke import KEVENT
from ntsim.abi.scalars import NTSTATUS, PVOID
from ntsim.nt.exports import export
from ntsim.nt.io.build import IoBuildDeviceIoControlRequest
from ntsim.nt.io.call import IofCallDriver
from ntsim.nt.io.device import iop_top_of
from ntsim.nt.io.device_stack import iop_open_device
from ntsim.nt.ke.objects import KeInitializeEvent
from ntsim.nt.ke.wait import WAIT_ANY, ki_wait
from ntsim.nt.ob.objects import set_unicode
from ntsim.nt.rtl.codepage import wide_decode, wide_encode

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT
    from ntsim.abi.rtl import PUNICODE_STRING
    from ntsim.nt.kernel import Kernel

EXECUTIVE = 0
"""KWAIT_REASON."""
QUERY_DEVICE_NAME, QUERY_DOS_VOLUME_PATH = 0x4D_0008, 0x6D_0030
"""IOCTL_MOUNTDEV_QUERY_DEVICE_NAME, IOCTL_MOUNTMGR_QUERY_DOS_VOLUME_PATH."""
MOUNT_MANAGER = "\\Device\\MountPointManager"
_NAME_ROOM = 0x202


def iop_ask_device(
    nt: Kernel, device: PDEVICE_OBJECT, code: int, question: bytes, room: int
) -> tuple[int, bytes]:
    """(status, answer) of a device-control request that is waited for."""
    size = KEVENT.size + IO_STATUS_BLOCK.size
    block = nt.allocate_pool(size + len(question) + room, "IoVd")
    if not block:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES, b""
    event, status_block = KEVENT.at(nt.mmu, block), IO_STATUS_BLOCK.at(nt.mmu, block + KEVENT.size)
    KeInitializeEvent(nt, event, 0, False)
    data = block + size
    nt.mmu.write(data, question + bytes(room))
    out = data + len(question)
    irp = IoBuildDeviceIoControlRequest(
        nt, code, device, data if question else 0, len(question), out, room, False, event,
        status_block,
    )  # fmt: skip
    status = ntstatus.STATUS_INSUFFICIENT_RESOURCES
    if irp:
        status = IofCallDriver(nt, device, irp)
        if status == ntstatus.STATUS_PENDING:
            ki_wait(nt, [int(event)], WAIT_ANY, EXECUTIVE, 0, False, None)
            status = status_block.Status & 0xFFFF_FFFF
    answer = nt.mmu.read(out, room)
    nt.free_pool(block)
    return status & 0xFFFF_FFFF, answer


def iop_volume_name(nt: Kernel, device: PDEVICE_OBJECT) -> tuple[int, bytes]:
    """(status, MOUNTDEV_NAME) of a volume."""
    status, answer = iop_ask_device(nt, device, QUERY_DEVICE_NAME, b"", _NAME_ROOM)
    length = int.from_bytes(answer[:2], "little")
    if status == ntstatus.STATUS_BUFFER_OVERFLOW:
        status, answer = iop_ask_device(nt, device, QUERY_DEVICE_NAME, b"", length + 2)
    return status, answer[: length + 2]


def iop_dos_path(nt: Kernel, manager: PDEVICE_OBJECT, name: bytes) -> tuple[int, bytes]:
    """(status, the first DOS path) that the mount manager knows of a volume."""
    status, answer = iop_ask_device(nt, manager, QUERY_DOS_VOLUME_PATH, name, 8)
    if status not in (ntstatus.STATUS_SUCCESS, ntstatus.STATUS_BUFFER_OVERFLOW):
        return status, b""
    length = int.from_bytes(answer[:4], "little")
    status, answer = iop_ask_device(nt, manager, QUERY_DOS_VOLUME_PATH, name, 4 + length)
    return status, wide_encode(wide_decode(answer[4 : 4 + length]).partition("\0")[0])


@export(irql="== PASSIVE", aliases=("RtlVolumeDeviceToDosName",))
def IoVolumeDeviceToDosName(
    nt: Kernel, VolumeDeviceObject: PVOID, DosName: PUNICODE_STRING
) -> NTSTATUS:
    """`C:` or the like for a volume, in a string that ExFreePool frees.

    The volume is asked for its name, the mount manager for its path; a machine without mount
    manager ends in STATUS_OBJECT_NAME_NOT_FOUND. Source: WDK IoVolumeDeviceToDosName.
    """
    status, name = iop_volume_name(nt, DEVICE_OBJECT.at(nt.mmu, int(VolumeDeviceObject)))
    if status:
        return status
    status, file = iop_open_device(nt, MOUNT_MANAGER, c.FILE_READ_ATTRIBUTES)
    if status:
        return status
    status, path = iop_dos_path(nt, iop_top_of(nt, file.DeviceObject), name)
    nt.ob.dereference(int(file))
    if status:
        return status
    buffer = nt.ex.pool.allocate(len(path) + 2, "IoVd", paged=True)
    if not buffer:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    nt.mmu.write(buffer, path + b"\0\0")
    set_unicode(DosName, buffer, len(path))
    return ntstatus.STATUS_SUCCESS
