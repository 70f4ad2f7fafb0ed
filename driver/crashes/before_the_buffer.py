"""cezanne/usbip-win issue 69: the bytes before a buffer are written: bug check 0xC2, parameter 0xD.

The driver builds a message in the buffer of a request and puts the message's length in front of it.
In front of a buffer from pool is the pool's header, and the last eight bytes of that name the
process whose quota pays for the block. The I/O manager frees the buffer when the request is
completed: nothing of the driver is at work any more.
"""

from driver.crashes.device import *
from ntsim.wdm import *

HEADER = 8


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    if CodeOf(Irp) == CRASH_WORK:
        BuildMessage(Irp)
    return Complete(Irp, STATUS_SUCCESS)


def BuildMessage(Irp: PIRP) -> None:
    """The length, then the data."""
    Length = IoGetCurrentIrpStackLocation(Irp).Parameters.DeviceIoControl.InputBufferLength
    Message = Irp.AssociatedIrp.SystemBuffer - HEADER
    cast(Message, PULONGLONG)[0] = Length
    DbgPrint("a message of %u bytes\n", cast(Message, PULONGLONG)[0])
