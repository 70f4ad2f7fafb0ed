"""A dispatch routine returns an error and forgets the IRP: bug check 0xC9/0x226, verified.

Returning a status completes nothing. The I/O manager knows of the request until IoCompleteRequest
is called, and so does the thread that waits for it. Look at DeviceControl. Driver Verifier notices
when the routine returns; without it the app hangs, and cannot even be ended.
"""

from driver.crashes.device import *
from ntsim.wdm import *

MAXIMUM = 4096


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    if CodeOf(Irp) == CRASH_WORK:
        Size = cast(Irp.AssociatedIrp.SystemBuffer, PULONG)[0]
        if Size > MAXIMUM:
            return STATUS_INVALID_PARAMETER
    return Complete(Irp, STATUS_SUCCESS)
