"""wait_in_dpc.py put right: a DPC may ask, with a time-out of zero, and must not wait."""

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
    AtOnce = Milliseconds(0)
    if KeWaitForSingleObject(TableLock, Executive, KernelMode, FALSE, AtOnce) == STATUS_SUCCESS:
        KeSetEvent(TableLock, IO_NO_INCREMENT, FALSE)
