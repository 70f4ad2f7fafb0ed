"""resource_released_by_another.py put right: the thread that reads acquires and releases."""

from driver.crashes.device import *
from ntsim.wdm import *

FileResource, Finished = ERESOURCE(), ULONG()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    ExInitializeResourceLite(FileResource)
    Status = CreateDevice(DriverObject, DeviceControl)
    if not NT_SUCCESS(Status):
        ExDeleteResourceLite(FileResource)
    DriverObject.DriverUnload = Unload
    return Status


def Unload(DriverObject: PDRIVER_OBJECT) -> None:
    DeleteDevice(DriverObject)
    ExDeleteResourceLite(FileResource)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    if CodeOf(Irp) == CRASH_WORK:
        return ReadFile(DeviceObject, Irp)
    return Complete(Irp, STATUS_SUCCESS)


def ReadFile(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    WorkItem = IoAllocateWorkItem(DeviceObject)
    if not WorkItem:
        return Complete(Irp, STATUS_INSUFFICIENT_RESOURCES)
    Irp.Tail.Overlay.DriverContext[0] = WorkItem
    IoMarkIrpPending(Irp)
    IoQueueWorkItem(WorkItem, FinishRead, DelayedWorkQueue, Irp)
    return STATUS_PENDING


def FinishRead(DeviceObject: PDEVICE_OBJECT, Context: PVOID) -> None:
    Irp = cast(Context, PIRP)
    KeEnterCriticalRegion()
    ExAcquireResourceSharedLite(FileResource, TRUE)
    Finished[0] += 1
    ExReleaseResourceLite(FileResource)
    KeLeaveCriticalRegion()
    IoFreeWorkItem(Irp.Tail.Overlay.DriverContext[0])
    Complete(Irp, STATUS_SUCCESS)
