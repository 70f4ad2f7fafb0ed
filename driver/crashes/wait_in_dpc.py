"""microsoft/ebpf-for-windows issue 2275: a DPC waits, under stress only: bug check 0xB8.

A timer's DPC cleans up a table that threads use as well. What protects the table is an event used
as a lock; as long as that is free, taking it in the DPC goes well. One day a thread has it: the DPC
would have to wait, and a DPC has no thread of its own that could be put aside.
"""

from driver.crashes.device import *
from ntsim.wdm import *

TableLock, Timer, TimerDpc = KEVENT(), KTIMER(), KDPC()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    KeInitializeEvent(TableLock, SynchronizationEvent, TRUE)
    KeInitializeTimer(Timer)
    KeInitializeDpc(TimerDpc, CleanTable, NULL)
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Code = CodeOf(Irp)
    if Code == CRASH_START:
        KeSetTimerEx(Timer, Milliseconds(10), 10, TimerDpc)
    elif Code == CRASH_WORK:
        UpdateTable()
    elif Code == CRASH_STOP:
        KeCancelTimer(Timer)
        KeFlushQueuedDpcs()
    return Complete(Irp, STATUS_SUCCESS)


def UpdateTable() -> None:
    """A long piece of work: the timer expires meanwhile."""
    KeWaitForSingleObject(TableLock, Executive, KernelMode, FALSE, NULL)
    for _ in range(400):
        KeStallExecutionProcessor(50)
    KeSetEvent(TableLock, IO_NO_INCREMENT, FALSE)


def CleanTable(Dpc: PKDPC, Context: PVOID, Argument1: PVOID, Argument2: PVOID) -> None:
    KeWaitForSingleObject(TableLock, Executive, KernelMode, FALSE, NULL)
    KeSetEvent(TableLock, IO_NO_INCREMENT, FALSE)
