"""resource_of_a_failed_driver.py put right: DriverEntry that fails leaves nothing behind."""

from driver.crashes.device import *
from ntsim.wdm import *

RulesLock = ERESOURCE()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    ExInitializeResourceLite(RulesLock)
    Status = CreateDevice(DriverObject, DeviceControl)
    if not NT_SUCCESS(Status):
        ExDeleteResourceLite(RulesLock)
        return Status
    DriverObject.DriverUnload = Unload
    return STATUS_SUCCESS


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    return Complete(Irp, STATUS_SUCCESS)


def Unload(DriverObject: PDRIVER_OBJECT) -> None:
    ExDeleteResourceLite(RulesLock)
    DeleteDevice(DriverObject)
