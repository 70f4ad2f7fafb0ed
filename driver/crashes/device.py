"""What every driver of this folder has: a device that an app opens as \\\\.\\Crash, and its end.

A driver calls CreateDevice in DriverEntry and puts its own routines into the driver object then.
"""

from driver.crashes.crash_ioctl import *
from ntsim.wdm import *

DeviceName = UNICODE_STRING("\\Device\\Crash")
LinkName = UNICODE_STRING("\\DosDevices\\Crash")


def CreateDevice(DriverObject: PDRIVER_OBJECT, DeviceControl) -> NTSTATUS:
    """The device, its link, and the routines that have nothing to do with the story."""
    Status, DeviceObject = IoCreateDevice(
        DriverObject, 0, DeviceName, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE
    )
    if not NT_SUCCESS(Status):
        return Status
    for Major in (IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE):
        DriverObject.MajorFunction[Major] = CreateClose
    DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = DeviceControl
    DriverObject.DriverUnload = DeleteDevice
    Status = IoCreateSymbolicLink(LinkName, DeviceName)
    if not NT_SUCCESS(Status):
        IoDeleteDevice(DeviceObject)
    return Status


def DeleteDevice(DriverObject: PDRIVER_OBJECT) -> None:
    IoDeleteSymbolicLink(LinkName)
    IoDeleteDevice(DriverObject.DeviceObject)


def CreateClose(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    return Complete(Irp, STATUS_SUCCESS)


def Complete(Irp: PIRP, Status: NTSTATUS, Information: ULONG_PTR = 0) -> NTSTATUS:
    Irp.IoStatus.Status = Status
    Irp.IoStatus.Information = Information
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return Status


def CodeOf(Irp: PIRP) -> ULONG:
    return IoGetCurrentIrpStackLocation(Irp).Parameters.DeviceIoControl.IoControlCode


def Milliseconds(Number: ULONG) -> LARGE_INTEGER:
    """So much time from now, as timers and waits want it."""
    Time = LARGE_INTEGER()
    Time.QuadPart = -10_000 * Number
    return Time
