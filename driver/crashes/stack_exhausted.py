"""dokan-dev/dokany issue 944: a request goes through filters until the stack is full: 0x7F.

A thread has 24 KB of kernel stack for everything between a system call and its end. Every driver
that a request passes through takes its part of it, and each of these has a path name of a kilobyte
among its local variables. One of them alone, or three, work well. The double fault comes where no
stack is left to report a page fault on.
"""

from driver.crashes.device import *
from ntsim.wdm import *

FILTERS, NAME_LENGTH = 24, 520


class EXTENSION(Structure):
    Below: PDEVICE_OBJECT


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    """A device, and filters on top of it, as many as products on some machines."""
    Status = CreateDevice(DriverObject, PassOn)
    if not NT_SUCCESS(Status):
        return Status
    for Major in (IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE):
        DriverObject.MajorFunction[Major] = PassOn
    DriverObject.DriverUnload = Unload
    for _ in range(FILTERS):
        Status = AddFilter(DriverObject)
        if not NT_SUCCESS(Status):
            Unload(DriverObject)
            return Status
    return STATUS_SUCCESS


def AddFilter(DriverObject: PDRIVER_OBJECT) -> NTSTATUS:
    """On top of the newest device, which is the first in the driver's list."""
    Top = DriverObject.DeviceObject
    Top.Flags &= ~DO_DEVICE_INITIALIZING
    Status, Filter = IoCreateDevice(
        DriverObject, sizeof(EXTENSION), NULL, FILE_DEVICE_UNKNOWN, 0, FALSE
    )
    if not NT_SUCCESS(Status):
        return Status
    Below = IoAttachDeviceToDeviceStack(Filter, Top)
    if not Below:
        IoDeleteDevice(Filter)
        return STATUS_NO_SUCH_DEVICE
    cast(Filter.DeviceExtension, POINTER(EXTENSION)).Below = Below
    return STATUS_SUCCESS


def Unload(DriverObject: PDRIVER_OBJECT) -> None:
    """The newest filter comes first."""
    while DriverObject.DeviceObject.DeviceExtension:
        Filter = DriverObject.DeviceObject
        IoDetachDevice(cast(Filter.DeviceExtension, POINTER(EXTENSION)).Below)
        IoDeleteDevice(Filter)
    DeleteDevice(DriverObject)


def PassOn(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Location = IoGetCurrentIrpStackLocation(Irp)
    if not DeviceObject.DeviceExtension:
        return Complete(Irp, STATUS_SUCCESS)
    if Location.MajorFunction == IRP_MJ_CREATE:
        return LookAtName(DeviceObject, Irp)
    IoSkipCurrentIrpStackLocation(Irp)
    return IoCallDriver(cast(DeviceObject.DeviceExtension, POINTER(EXTENSION)).Below, Irp)


def LookAtName(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    """Nobody opens the forbidden file, under whichever name it comes out below."""
    Name = (WCHAR * NAME_LENGTH)()
    Asked = IoGetCurrentIrpStackLocation(Irp).FileObject.FileName
    RtlCopyMemory(Name, Asked.Buffer, Asked.Length)
    IoSkipCurrentIrpStackLocation(Irp)
    Status = IoCallDriver(cast(DeviceObject.DeviceExtension, POINTER(EXTENSION)).Below, Irp)
    if NT_SUCCESS(Status) and Name[0] == ord("?"):
        DbgPrint("a name that begins with a question mark\n")
    return Status
