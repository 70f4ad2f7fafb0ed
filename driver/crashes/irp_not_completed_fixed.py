"""irp_not_completed.py put right: an IRP that is refused is completed with the error."""

from driver.crashes.device import *
from ntsim.wdm import *

MAXIMUM = 4096


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    if CodeOf(Irp) == CRASH_WORK:
        Size = cast(Irp.AssociatedIrp.SystemBuffer, PULONG)[0]
        if Size > MAXIMUM:
            return Complete(Irp, STATUS_INVALID_PARAMETER)
    return Complete(Irp, STATUS_SUCCESS)
