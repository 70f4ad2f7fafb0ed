"""HARM4Y/FOKS-TROT issue 41: one thread acquires a resource, another releases it: 0xE3.

The read is finished in a work item, and so the resource that protects the file's data is released
there. An ERESOURCE knows its owners: the worker thread is none of them.
"""

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
    KeEnterCriticalRegion()
    ExAcquireResourceSharedLite(FileResource, TRUE)
    Irp.Tail.Overlay.DriverContext[0] = WorkItem
    IoMarkIrpPending(Irp)
    IoQueueWorkItem(WorkItem, FinishRead, DelayedWorkQueue, Irp)
    KeLeaveCriticalRegion()
    return STATUS_PENDING


def FinishRead(DeviceObject: PDEVICE_OBJECT, Context: PVOID) -> None:
    Irp = cast(Context, PIRP)
    Finished[0] += 1
    KeEnterCriticalRegion()
    ExReleaseResourceLite(FileResource)
    KeLeaveCriticalRegion()
    IoFreeWorkItem(Irp.Tail.Overlay.DriverContext[0])
    Complete(Irp, STATUS_SUCCESS)
