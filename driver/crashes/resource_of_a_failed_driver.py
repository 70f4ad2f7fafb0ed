"""windowskernelprogrammingbook2e pull request 27: DriverEntry fails and forgets its resource: 0xD4.

A driver whose DriverEntry returns an error is taken out of memory, and DriverUnload is not called.
This one is installed a second time, under another name, and cannot create its device again: by then
it has put an ERESOURCE among its variables into the list of all resources, and there it stays.
Whoever comes next to it in that list follows a pointer to where no memory is any more.
"""

from driver.crashes.device import *
from ntsim.wdm import *

RulesLock = ERESOURCE()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    ExInitializeResourceLite(RulesLock)
    Status = CreateDevice(DriverObject, DeviceControl)
    if not NT_SUCCESS(Status):
        return Status
    DriverObject.DriverUnload = Unload
    return STATUS_SUCCESS


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    return Complete(Irp, STATUS_SUCCESS)


def Unload(DriverObject: PDRIVER_OBJECT) -> None:
    ExDeleteResourceLite(RulesLock)
    DeleteDevice(DriverObject)
