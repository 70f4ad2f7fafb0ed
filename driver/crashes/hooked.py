"""The driver whose dispatch table another one changes: \\\\.\\Hooked completes everything."""

from driver.crashes.device import Complete
from ntsim.wdm import *

DeviceName = UNICODE_STRING("\\Device\\Hooked")
LinkName = UNICODE_STRING("\\DosDevices\\Hooked")


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    for Major in range(IRP_MJ_MAXIMUM_FUNCTION + 1):
        DriverObject.MajorFunction[Major] = Succeed
    DriverObject.DriverUnload = Unload
    Status, DeviceObject = IoCreateDevice(
        DriverObject, 0, DeviceName, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE
    )
    if NT_SUCCESS(Status):
        Status = IoCreateSymbolicLink(LinkName, DeviceName)
        if not NT_SUCCESS(Status):
            IoDeleteDevice(DeviceObject)
    return Status


def Succeed(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    return Complete(Irp, STATUS_SUCCESS)


def Unload(DriverObject: PDRIVER_OBJECT) -> None:
    IoDeleteSymbolicLink(LinkName)
    IoDeleteDevice(DriverObject.DeviceObject)
