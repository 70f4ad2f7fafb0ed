"""before_the_buffer.py put right: the message has a buffer with room for its header."""

from driver.crashes.device import *
from ntsim.wdm import *

HEADER, TAG = 8, 0x70696275  # 'ubip'


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    if CodeOf(Irp) == CRASH_WORK:
        BuildMessage(Irp)
    return Complete(Irp, STATUS_SUCCESS)


def BuildMessage(Irp: PIRP) -> None:
    """The length, then the data."""
    Length = IoGetCurrentIrpStackLocation(Irp).Parameters.DeviceIoControl.InputBufferLength
    Message = ExAllocatePoolZero(NonPagedPoolNx, HEADER + Length, TAG)
    if not Message:
        return
    cast(Message, PULONGLONG)[0] = Length
    DbgPrint("a message of %u bytes\n", cast(Message, PULONGLONG)[0])
    ExFreePoolWithTag(Message, TAG)
