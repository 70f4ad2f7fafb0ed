"""written_past_the_end.py put right: there is room for the null character."""

from driver.crashes.device import *
from ntsim.wdm import *

TAG, LENGTH = 0x50434B54, 615
Names = (PVOID * 2)()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Code, Status = CodeOf(Irp), STATUS_SUCCESS
    if Code == CRASH_START:
        Status = KeepName(0, b"Adapter " * 80)
    elif Code == CRASH_STOP and Names[0]:
        ExFreePoolWithTag(Names[0], TAG)
    return Complete(Irp, Status)


def KeepName(Index: ULONG, Text) -> NTSTATUS:
    """A copy that ends in a null character."""
    Names[Index] = ExAllocatePoolWithTag(NonPagedPoolNx, LENGTH + 1, TAG)
    if not Names[Index]:
        return STATUS_INSUFFICIENT_RESOURCES
    write_bytes(Names[Index], Text[:LENGTH] + b"\0")
    return STATUS_SUCCESS
