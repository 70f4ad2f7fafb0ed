"""Words that many of the drivers use."""

from typing import Any

from ntsim.wdm import *

TAG = 0x67754254


def interval(milliseconds: float) -> Any:
    made = LARGE_INTEGER()
    made.QuadPart = int(-milliseconds * 10_000)
    return made


def pause(milliseconds: float = 1) -> int:
    return KeDelayExecutionThread(KernelMode, FALSE, interval(milliseconds))


def thread(routine: Any, context: Any = NULL) -> None:
    """Start a system thread."""
    PsCreateSystemThread(0, NULL, NULL, NULL, routine, context)


def wait(object_: Any) -> int:
    return KeWaitForSingleObject(object_, Executive, KernelMode, FALSE, NULL)


def block(size: int, kind: Any = PVOID, pool: int = NonPagedPoolNx) -> Any:
    """Pool memory as storage of a type."""
    va = ExAllocatePoolWithTag(pool, size, TAG)
    return va if kind is PVOID else cast(va, kind)


def dpc(routine: Any, context: Any = NULL) -> Any:
    """A DPC that is queued at once."""
    made = KDPC()
    KeInitializeDpc(made, routine, context)
    KeInsertQueueDpc(made, NULL, NULL)
    return made


def device(DriverObject: Any, name: str = "") -> Any:
    text = UNICODE_STRING(name) if name else NULL
    _, made = IoCreateDevice(DriverObject, 0, text, FILE_DEVICE_UNKNOWN, 0, FALSE)
    made.Flags &= ~DO_DEVICE_INITIALIZING
    return made


def complete(Irp: Any, status: int = STATUS_SUCCESS) -> int:
    Irp.IoStatus.Status = status
    Irp.IoStatus.Information = 0
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return status


def work_item(DriverObject: Any, routine: Any) -> Any:
    """Queue a work item and wait long enough for a worker to run it."""
    item = IoAllocateWorkItem(device(DriverObject))
    IoQueueWorkItem(item, routine, DelayedWorkQueue, item)
    pause(100)
    return item
