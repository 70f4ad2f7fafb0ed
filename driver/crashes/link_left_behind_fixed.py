"""link_left_behind.py put right: it is the link that is deleted."""

from driver.crashes.device import *
from ntsim.wdm import *


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    Status = CreateDevice(DriverObject, DeviceControl)
    if NT_SUCCESS(Status):
        DriverObject.DriverUnload = Unload
    return Status


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    return Complete(Irp, STATUS_SUCCESS)


def Unload(DriverObject: PDRIVER_OBJECT) -> None:
    IoDeleteSymbolicLink(LinkName)
    IoDeleteDevice(DriverObject.DeviceObject)
