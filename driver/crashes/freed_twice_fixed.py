"""freed_twice.py put right: a block that has been freed leaves the table."""

from driver.crashes.device import *
from ntsim.wdm import *

BLOCKS, BLOCK_SIZE = 4, 0x90
TAG = 0x4A424B43  # 'CKBJ', as in the dump
Table = (PVOID * BLOCKS)()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Code, Status = CodeOf(Irp), STATUS_SUCCESS
    if Code == CRASH_START:
        Status = JournalLoad()
    elif Code == CRASH_WORK:
        PutBlock(2)
    elif Code == CRASH_STOP:
        JournalDestroy()
    return Complete(Irp, Status)


def JournalLoad() -> NTSTATUS:
    for Index in range(BLOCKS):
        Table[Index] = ExAllocatePoolWithTag(NonPagedPoolNx, BLOCK_SIZE, TAG)
        if not Table[Index]:
            JournalDestroy()
            return STATUS_INSUFFICIENT_RESOURCES
    return STATUS_SUCCESS


def PutBlock(Index: ULONG) -> None:
    if Table[Index]:
        ExFreePoolWithTag(Table[Index], TAG)
        Table[Index] = NULL


def JournalDestroy() -> None:
    for Index in range(BLOCKS):
        if Table[Index]:
            ExFreePoolWithTag(Table[Index], TAG)
            Table[Index] = NULL
