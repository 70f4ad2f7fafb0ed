"""close_holding_a_fast_mutex.py put right: the handle is closed at PASSIVE_LEVEL."""

from driver.crashes.device import *
from ntsim.wdm import *

Mutex, Count = FAST_MUTEX(), ULONG()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    ExInitializeFastMutex(Mutex)
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Status = STATUS_SUCCESS
    if CodeOf(Irp) == CRASH_WORK:
        Status = CountSharedMemory()
    return Complete(Irp, Status)


def CountSharedMemory() -> NTSTATUS:
    Attributes = OBJECT_ATTRIBUTES()
    InitializeObjectAttributes(Attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL)
    Size = LARGE_INTEGER()
    Size.QuadPart = PAGE_SIZE
    Status, Section = ZwCreateSection(
        SECTION_ALL_ACCESS, Attributes, Size, PAGE_READWRITE, SEC_COMMIT, NULL
    )
    if not NT_SUCCESS(Status):
        return Status
    ExAcquireFastMutex(Mutex)
    Count[0] += 1
    ExReleaseFastMutex(Mutex)
    ZwClose(Section)
    return STATUS_SUCCESS
