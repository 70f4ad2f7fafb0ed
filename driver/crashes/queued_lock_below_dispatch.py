"""intel/haxm pull request 48: an AtDpcLevel routine in threads at PASSIVE_LEVEL: a deadlock.

KeAcquireInStackQueuedSpinLockAtDpcLevel leaves the level to its caller, who must be at
DISPATCH_LEVEL. This one is not, and a thread that holds the lock can be put aside in the middle.
If the other one that wants the lock is more important, and on the same processor, it spins for
ever: the processor is never given to the first. Look at Count.
"""

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
    KeAcquireInStackQueuedSpinLockAtDpcLevel(Lock, Handle)
    for _ in range(ITEMS):
        Total[0] += 1
        KeStallExecutionProcessor(50)
    KeReleaseInStackQueuedSpinLockFromDpcLevel(Handle)
