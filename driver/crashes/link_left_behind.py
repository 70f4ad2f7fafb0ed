"""Hypervisor-From-Scratch issue 4: the wrong link is deleted, and the driver never starts again.

IoDeleteSymbolicLink is given the name of the device. That is no link, nothing is deleted, and
nobody looks at the status. The link outlives the driver, and at the next start IoCreateSymbolicLink
finds the name taken: STATUS_OBJECT_NAME_COLLISION, until the system is started anew.
"""

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
    IoDeleteSymbolicLink(DeviceName)
    IoDeleteDevice(DriverObject.DeviceObject)
