"""openzfsonwindows/ZFSin pull request 221: KeAcquireSpinLockForDpc in a thread: bug check 0x133.

The routine is made for DPCs, threaded or not, and raises the level for a threaded one that runs at
PASSIVE_LEVEL. In a thread it raises nothing: the thread holds the lock and can be interrupted.
The timer's DPC that interrupts it wants the lock too, and waits for the thread below itself.
"""

from driver.crashes.device import *
from ntsim.wdm import *

Lock, Timer, TimerDpc = KSPIN_LOCK(), KTIMER(), KDPC()
Used = ULONG()
PROCESSOR, ENTRIES = 0, 1000


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    KeInitializeSpinLock(Lock)
    KeInitializeTimer(Timer)
    KeInitializeDpc(TimerDpc, ExpireEntries, NULL)
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Code = CodeOf(Irp)
    if Code == CRASH_WORK:
        AddEntriesHere()
    elif Code == CRASH_STOP:
        KeCancelTimer(Timer)
        KeFlushQueuedDpcs()
    return Complete(Irp, STATUS_SUCCESS)


def AddEntriesHere() -> None:
    """A processor has a list of its own, and its timer's DPC looks after it."""
    OldAffinity = KeSetSystemAffinityThreadEx(1 << PROCESSOR)
    KeSetTargetProcessorDpc(TimerDpc, PROCESSOR)
    KeSetTimer(Timer, Milliseconds(2), TimerDpc)
    AddEntries()
    KeRevertToUserAffinityThreadEx(OldAffinity)


def AddEntries() -> None:
    OldIrql = KeAcquireSpinLockForDpc(Lock)
    for _ in range(ENTRIES):
        Used[0] += 1
        KeStallExecutionProcessor(50)
    KeReleaseSpinLockForDpc(Lock, OldIrql)


def ExpireEntries(Dpc: PKDPC, Context: PVOID, Argument1: PVOID, Argument2: PVOID) -> None:
    OldIrql = KeAcquireSpinLockForDpc(Lock)
    Used[0] = 0
    KeReleaseSpinLockForDpc(Lock, OldIrql)
