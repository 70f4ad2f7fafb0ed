"""The driver below, in stories of two: its device \\\\Device\\\\Lower completes everything."""

from driver.crashes.device import Complete
from ntsim.wdm import *

LowerName = UNICODE_STRING("\\Device\\Lower")


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    for Major in range(IRP_MJ_MAXIMUM_FUNCTION + 1):
        DriverObject.MajorFunction[Major] = Succeed
    DriverObject.DriverUnload = Unload
    return IoCreateDevice(DriverObject, 0, LowerName, FILE_DEVICE_UNKNOWN, 0, FALSE)[0]


def Succeed(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    return Complete(Irp, STATUS_SUCCESS)


def Unload(DriverObject: PDRIVER_OBJECT) -> None:
    IoDeleteDevice(DriverObject.DeviceObject)
