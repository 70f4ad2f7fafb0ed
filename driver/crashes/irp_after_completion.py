"""HoShiMin/Kernel-Bridge issue 19: the status is read from an IRP after its completion: 0xD5.

IoCompleteRequest gives the IRP away, and it may be freed before the call returns. The last line of
the routine returns Irp.IoStatus.Status all the same. Most of the time the old bytes are still
there. With Driver Verifier the IRP is in special pool, and not there at all once it is freed.
"""

from driver.crashes.device import *
from ntsim.wdm import *


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Irp.IoStatus.Status = STATUS_SUCCESS
    Irp.IoStatus.Information = 0
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return Irp.IoStatus.Status
