"""cheat-engine issue 1237: a timer's DPC asks for a work item of a device that is not there.

The driver has no device of its own at that time, so DriverObject.DeviceObject is NULL, and that is
what IoAllocateWorkItem is given. It looks at what kind of object it has got.
"""

from driver.crashes.device import *
from ntsim.wdm import *

Timer, TimerDpc, ThisDriver = KTIMER(), KDPC(), PVOID()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    ThisDriver[0] = DriverObject
    KeInitializeTimer(Timer)
    KeInitializeDpc(TimerDpc, WatchMemory, NULL)
    KeSetTimer(Timer, Milliseconds(5), TimerDpc)
    DriverObject.DriverUnload = Unload
    return STATUS_SUCCESS


def Unload(DriverObject: PDRIVER_OBJECT) -> None:
    KeCancelTimer(Timer)
    KeFlushQueuedDpcs()


def WatchMemory(Dpc: PKDPC, Context: PVOID, Argument1: PVOID, Argument2: PVOID) -> None:
    """Reading files and memory of processes needs PASSIVE_LEVEL."""
    DriverObject = cast(ThisDriver[0], PDRIVER_OBJECT)
    WorkItem = IoAllocateWorkItem(DriverObject.DeviceObject)
    if WorkItem:
        IoQueueWorkItem(WorkItem, ReadMemory, DelayedWorkQueue, WorkItem)


def ReadMemory(DeviceObject: PDEVICE_OBJECT, WorkItem: PVOID) -> None:
    DbgPrint("reading at IRQL %u\n", KeGetCurrentIrql())
    IoFreeWorkItem(WorkItem)
