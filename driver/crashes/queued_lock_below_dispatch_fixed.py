"""queued_lock_below_dispatch.py put right: the level is raised with the lock."""

from driver.crashes.device import *
from ntsim.wdm import *

Lock, Finished, Worker, Total = KSPIN_LOCK(), KEVENT(), PVOID(), ULONG()
ITEMS, PRIORITY = 1000, 20


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    KeInitializeSpinLock(Lock)
    KeInitializeEvent(Finished, NotificationEvent, FALSE)
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Status = STATUS_SUCCESS
    if CodeOf(Irp) == CRASH_WORK:
        Status = CountBeside()
    return Complete(Irp, Status)


def CountBeside() -> NTSTATUS:
    """This thread and a more important one count, on one processor."""
    OldAffinity = KeSetSystemAffinityThreadEx(1)
    Status, Handle = PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, Helper, NULL)
    if NT_SUCCESS(Status):
        Count()
        KeWaitForSingleObject(Finished, Executive, KernelMode, FALSE, NULL)
        ZwClose(Handle)
    KeRevertToUserAffinityThreadEx(OldAffinity)
    return Status


def Helper(Context: PVOID) -> None:
    """It wakes up in the middle of what the other thread does."""
    KeSetSystemAffinityThreadEx(1)
    KeSetPriorityThread(KeGetCurrentThread(), PRIORITY)
    KeDelayExecutionThread(KernelMode, FALSE, Milliseconds(2))
    Count()
    KeSetEvent(Finished, IO_NO_INCREMENT, FALSE)
    PsTerminateSystemThread(STATUS_SUCCESS)


def Count() -> None:
    Handle = KLOCK_QUEUE_HANDLE()
    KeAcquireInStackQueuedSpinLock(Lock, Handle)
    for _ in range(ITEMS):
        Total[0] += 1
        KeStallExecutionProcessor(50)
    KeReleaseInStackQueuedSpinLock(Handle)
