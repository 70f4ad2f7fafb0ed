"""Finding other drivers' devices and attaching to them; questions about stacks and threads.

Source: WDK IoGetDeviceObjectPointer, IoAttachDevice, IoAttachDeviceToDeviceStackSafe,
IoGetLowerDeviceObject, IoGetStackLimits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.io import DEVICE_OBJECT, DEVOBJ_EXTENSION, FILE_OBJECT, IRP
from ntsim.abi.ps import EPROCESS
from ntsim.abi.scalars import ACCESS_MASK, BOOLEAN, NTSTATUS, PVOID, UCHAR, ULONG, ULONG_PTR
from ntsim.nt.ex.arguments import in_kernel_mode
from ntsim.nt.exports import Out, export
from ntsim.nt.io.device import IoAttachDeviceToDeviceStack, iop_top_of
from ntsim.nt.io.open import OpenRequest, iop_open
from ntsim.nt.ki.stack import ki_check_stack
from ntsim.nt.rtl.text import read_unicode

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT, PDRIVER_OBJECT, PFILE_OBJECT, PIRP
    from ntsim.abi.ps import PEPROCESS
    from ntsim.abi.rtl import PUNICODE_STRING
    from ntsim.nt.kernel import Kernel

WDM_VERSION = (1, 0x30)


def device_at(nt: Kernel, address: int) -> PDEVICE_OBJECT:
    return DEVICE_OBJECT.at(nt.mmu, address)  # type: ignore[no-any-return]


def iop_open_device(nt: Kernel, name: str, access: int) -> tuple[int, PFILE_OBJECT]:
    """(status, FILE_OBJECT) of a device opened in kernel mode; referenced, its handle closed."""
    return in_kernel_mode(nt, iop_open_and_close, name, access)


def iop_open_and_close(nt: Kernel, name: str, access: int) -> tuple[int, PFILE_OBJECT]:
    """The same in any mode."""
    status, handle = iop_open(nt, name, OpenRequest(access, options=c.FILE_NON_DIRECTORY_FILE))
    body = 0
    if ntstatus.NT_SUCCESS(status):
        table = nt.ps.current_process().handles
        found = table.lookup(handle)
        assert found is not None, f"the new handle {handle:#x}"
        body = found[0]
        nt.ob.reference(body)
        table.close(handle)
    return status, FILE_OBJECT.at(nt.mmu, body)


@export(irql="== PASSIVE")
def IoGetDeviceObjectPointer(
    nt: Kernel,
    ObjectName: PUNICODE_STRING,
    DesiredAccess: ACCESS_MASK,
    FileObject: Out[PFILE_OBJECT],
    DeviceObject: Out[PDEVICE_OBJECT],
) -> NTSTATUS:
    """Open a device by name: a referenced FILE_OBJECT and the top of its stack, not referenced.

    The driver gets CREATE and CLEANUP now, CLOSE when the file is dereferenced. Source: WDK.
    """
    status, file = iop_open_device(nt, read_unicode(nt.mmu, ObjectName), DesiredAccess)
    if ntstatus.NT_SUCCESS(status):
        FileObject[0] = file
        DeviceObject[0] = iop_top_of(nt, file.DeviceObject)
    return status


@export(irql="<= DISPATCH")
def IoAttachDeviceToDeviceStackSafe(
    nt: Kernel,
    SourceDevice: PDEVICE_OBJECT,
    TargetDevice: PDEVICE_OBJECT,
    AttachedToDeviceObject: Out[PDEVICE_OBJECT],
) -> NTSTATUS:
    """IoAttachDeviceToDeviceStack; STATUS_NO_SUCH_DEVICE if it cannot be. Source: WDK."""
    below = IoAttachDeviceToDeviceStack(nt, SourceDevice, TargetDevice)
    AttachedToDeviceObject[0] = below
    return ntstatus.STATUS_SUCCESS if below else ntstatus.STATUS_NO_SUCH_DEVICE


@export(irql="== PASSIVE")
def IoAttachDevice(
    nt: Kernel,
    SourceDevice: PDEVICE_OBJECT,
    TargetDevice: PUNICODE_STRING,
    AttachedDevice: Out[PDEVICE_OBJECT],
) -> NTSTATUS:
    """Attach to the stack of a named device, which is opened for it. Source: WDK IoAttachDevice."""
    name = read_unicode(nt.mmu, TargetDevice)
    status, file = iop_open_device(nt, name, c.FILE_READ_ATTRIBUTES)
    if not ntstatus.NT_SUCCESS(status):
        return status
    status = IoAttachDeviceToDeviceStackSafe(nt, SourceDevice, file.DeviceObject, AttachedDevice)
    nt.ob.dereference(int(file))
    return status


def iop_below(nt: Kernel, device: PDEVICE_OBJECT) -> PDEVICE_OBJECT:
    """The device that `device` is attached to, NULL at the bottom."""
    extension = DEVOBJ_EXTENSION.at(nt.mmu, device._v.DeviceObjectExtension)
    return device_at(nt, extension._v.AttachedTo)


@export(irql="<= DISPATCH")
def IoGetLowerDeviceObject(nt: Kernel, DeviceObject: PDEVICE_OBJECT) -> PDEVICE_OBJECT:
    """The next device down, referenced; NULL at the bottom. Source: ntifs.h."""
    below = iop_below(nt, DeviceObject)
    if below:
        nt.ob.reference(int(below))
    return below


@export(irql="<= DISPATCH")
def IoGetDeviceAttachmentBaseRef(nt: Kernel, DeviceObject: PDEVICE_OBJECT) -> PDEVICE_OBJECT:
    """The bottom of the stack, referenced. Source: WDK IoGetDeviceAttachmentBaseRef."""
    at = DeviceObject
    while below := iop_below(nt, at):
        at = below
    nt.ob.reference(int(at))
    return at


@export(irql="<= DISPATCH")
def IoGetRequestorProcess(nt: Kernel, Irp: PIRP) -> PEPROCESS:
    """The process whose thread sent the IRP, NULL for a driver's own. Source: ntifs.h."""
    thread = nt.ke.threads.get(Irp._v.Tail_Overlay_Thread)
    return EPROCESS.at(nt.mmu, thread.process.va if thread else 0)  # type: ignore[no-any-return]


@export(irql="<= DISPATCH")
def IoGetRequestorProcessId(nt: Kernel, Irp: PIRP) -> ULONG:
    """The id of the process whose thread sent the IRP, 0 for a driver's own. Source: ntifs.h."""
    process = IoGetRequestorProcess(nt, Irp)
    return int(process._v.UniqueProcessId) if process else 0


@export(irql="<= DISPATCH")
def IoEnumerateDeviceObjectList(
    nt: Kernel,
    DriverObject: PDRIVER_OBJECT,
    DeviceObjectList: PVOID,
    DeviceObjectListSize: ULONG,
    ActualNumberDeviceObjects: Out[ULONG],
) -> NTSTATUS:
    """Referenced pointers to a driver's devices, the newest first, as many as fit into the list.

    If that is not all of them, STATUS_BUFFER_TOO_SMALL. Source: ntifs.h; WDK
    IoEnumerateDeviceObjectList; ReactOS ntoskrnl/io/iomgr/device.c.
    """
    devices, device = [], DriverObject.DeviceObject
    while device:
        devices.append(int(device))
        device = device.NextDevice
    room = DeviceObjectListSize // 8
    ActualNumberDeviceObjects[0] = len(devices)
    for place, body in enumerate(devices[:room]):
        nt.ob.reference(body)
        nt.mmu.write_word(int(DeviceObjectList) + 8 * place, body)
    return (
        ntstatus.STATUS_BUFFER_TOO_SMALL if len(devices) > room else ntstatus.STATUS_SUCCESS
    )


@export(irql="<= DISPATCH")
def IoIs32bitProcess(nt: Kernel, Irp: PIRP) -> BOOLEAN:
    """FALSE: every process here is a 64-bit one. Source: WDK IoIs32bitProcess."""
    return False


@export(irql="== PASSIVE")
def IoIsWdmVersionAvailable(nt: Kernel, MajorVersion: UCHAR, MinorVersion: UCHAR) -> BOOLEAN:
    """Whether this is WDM of at least that version: it is 1.0x30. Source: WDK; wdm.h."""
    return (MajorVersion, MinorVersion) <= WDM_VERSION


@export(irql="<= APC")
def IoGetStackLimits(nt: Kernel, LowLimit: Out[ULONG_PTR], HighLimit: Out[ULONG_PTR]) -> None:
    """The current kernel stack's bounds; 0x139 on a stack that is not the thread's.

    Source: WDK IoGetStackLimits. That it checks as exception dispatch does is inferred.
    """
    ki_check_stack(nt, "IoGetStackLimits")
    v = nt.thread.v
    LowLimit[0], HighLimit[0] = v.StackLimit, v.StackBase


@export(irql="<= APC")
def IoGetInitialStack(nt: Kernel) -> PVOID:
    """Where the current kernel stack begins. Source: WDK IoGetInitialStack."""
    return int(nt.thread.v.InitialStack)


@export(irql="<= DISPATCH")
def IoGetTopLevelIrp(nt: Kernel) -> PIRP:
    """What IoSetTopLevelIrp stored for the current thread. Source: ntifs.h."""
    return IRP.at(nt.mmu, nt.thread.ethread._v.TopLevelIrp)  # type: ignore[no-any-return]


@export(irql="<= DISPATCH")
def IoSetTopLevelIrp(nt: Kernel, Irp: PIRP) -> None:
    """Remember the request that entered the file system first, or a flag. Source: ntifs.h."""
    nt.thread.ethread._v.TopLevelIrp = int(Irp)
