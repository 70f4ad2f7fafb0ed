"""work_item_without_device.py put right: a device comes first, and goes last."""

from driver.crashes.device import *
from ntsim.wdm import *

Timer, TimerDpc, ThisDriver = KTIMER(), KDPC(), PVOID()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    ThisDriver[0] = DriverObject
    Status, _ = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
    if not NT_SUCCESS(Status):
        return Status
    KeInitializeTimer(Timer)
    KeInitializeDpc(TimerDpc, WatchMemory, NULL)
    KeSetTimer(Timer, Milliseconds(5), TimerDpc)
    DriverObject.DriverUnload = Unload
    return STATUS_SUCCESS


def Unload(DriverObject: PDRIVER_OBJECT) -> None:
    KeCancelTimer(Timer)
    KeFlushQueuedDpcs()
    IoDeleteDevice(DriverObject.DeviceObject)


def WatchMemory(Dpc: PKDPC, Context: PVOID, Argument1: PVOID, Argument2: PVOID) -> None:
    """Reading files and memory of processes needs PASSIVE_LEVEL."""
    DriverObject = cast(ThisDriver[0], PDRIVER_OBJECT)
    WorkItem = IoAllocateWorkItem(DriverObject.DeviceObject)
    if WorkItem:
        IoQueueWorkItem(WorkItem, ReadMemory, DelayedWorkQueue, WorkItem)


def ReadMemory(DeviceObject: PDEVICE_OBJECT, WorkItem: PVOID) -> None:
    DbgPrint("reading at IRQL %u\n", KeGetCurrentIrql())
    IoFreeWorkItem(WorkItem)
