"""mistakes.c in Python, as far as Python can make the mistake: one control code for each.

A division by zero is not among them: it is Python's own error, not the processor's.
"""

from driver.c.mistakes_ioctl import CODES
from ntsim.intrin import __int2c, __writemsr
from ntsim.wdm import *

TAG = 0x7473_6554
NOWHERE = cast(0xFFFF_A000_0000_1000, PULONG)
DeviceName = UNICODE_STRING("\\Device\\Mistakes")
LinkName = UNICODE_STRING("\\DosDevices\\Mistakes")
Data, Head, One = (ULONG * 4)(), LIST_ENTRY(), LIST_ENTRY()


def Complete(Irp, Status):
    Irp.IoStatus.Status, Irp.IoStatus.Information = Status, 0
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return Status


def CreateClose(DeviceObject, Irp):
    return Complete(Irp, STATUS_SUCCESS)


def raised_irql(DeviceObject, Irp):
    KeRaiseIrql(DISPATCH_LEVEL)


def touch_at_dispatch(DeviceObject, Irp):
    Old = KeRaiseIrql(DISPATCH_LEVEL)
    NOWHERE[0] = 1
    KeLowerIrql(Old)


def invalid_address(DeviceObject, Irp):
    NOWHERE[0] = 1


def double_free(DeviceObject, Irp):
    Pool = ExAllocatePoolWithTag(NonPagedPool, 64, TAG)
    ExFreePoolWithTag(Pool, TAG)
    ExFreePoolWithTag(Pool, TAG)


def double_complete(DeviceObject, Irp):
    Complete(Irp, STATUS_SUCCESS)


def null_pointer(DeviceObject, Irp):
    cast(8, PULONG)[0] = 1


def corrupt_list(DeviceObject, Irp):
    InitializeListHead(Head)
    InsertTailList(Head, One)
    Head.Blink = Head
    RemoveEntryList(One)


def write_text(DeviceObject, Irp):
    write_bytes(DeviceObject.DriverObject.MajorFunction[IRP_MJ_CREATE], b"\xc3")


def execute_data(DeviceObject, Irp):
    PsCreateSystemThread(0, NULL, NULL, NULL, Data, NULL)
    KeDelayExecutionThread(KernelMode, FALSE, LARGE_INTEGER())


def Deeper(Above):
    return Deeper(Above + 1) + Above


def deep_recursion(DeviceObject, Irp):
    Deeper(0)


def assertion(DeviceObject, Irp):
    __int2c()


def privileged(DeviceObject, Irp):
    __writemsr(0x480, 0)


def critical_region(DeviceObject, Irp):
    KeEnterCriticalRegion()


def forever_at_dispatch(DeviceObject, Irp):
    KeRaiseIrql(DISPATCH_LEVEL)
    while True:
        pass


MISTAKES = {code: globals()[name] for name, code in CODES.items() if name in globals()}


def Control(DeviceObject, Irp):
    Code = IoGetCurrentIrpStackLocation(Irp).Parameters.DeviceIoControl.IoControlCode
    MISTAKES[Code](DeviceObject, Irp)
    return Complete(Irp, STATUS_SUCCESS)


def DriverEntry(DriverObject, RegistryPath):
    Status, _ = IoCreateDevice(DriverObject, 0, DeviceName, FILE_DEVICE_UNKNOWN, 0, FALSE)
    if not NT_SUCCESS(Status):
        return Status
    IoCreateSymbolicLink(LinkName, DeviceName)
    DriverObject.MajorFunction[IRP_MJ_CREATE] = CreateClose
    DriverObject.MajorFunction[IRP_MJ_CLOSE] = CreateClose
    DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control
    return STATUS_SUCCESS
