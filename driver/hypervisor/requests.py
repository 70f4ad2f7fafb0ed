"""Requests that wait: a cancel-safe queue (WDK, "Cancel-Safe IRP Queues").

An IRP that waits can be completed by the monitor's DPC, cancelled by CancelIoEx, by the end of its
thread, or by IRP_MJ_CLEANUP, at the same time on several processors. IoCsq decides under its lock
who gets it; whoever takes it out owns it, and completes it. The driver supplies the list and lock.

Once the handle is closed nothing may be added, or an IRP that its thread was just about to send
would wait for ever: so the queue is open or not, and the insert routine refuses (the Ex variant).
"""

from driver.hypervisor.system_ioctl import HV_EVENT_SIZE
from ntsim.wdm import *


class REQUEST_QUEUE(Structure):
    Csq: IO_CSQ
    List: LIST_ENTRY
    Open: BOOLEAN


rq = REQUEST_QUEUE()
QueueLock = KSPIN_LOCK()


def InitializeRequests() -> None:
    InitializeListHead(rq.List)
    KeInitializeSpinLock(QueueLock)
    IoCsqInitializeEx(
        rq.Csq, CsqInsert, CsqRemove, CsqPeekNext, CsqAcquire, CsqRelease, CsqCompleteCanceled
    )


def OpenRequests() -> None:
    rq.Open = TRUE


def WaitForEvents(Irp) -> NTSTATUS:
    """IRP_MJ_DEVICE_CONTROL: the request waits. From the insertion on it may be complete."""
    Room = IoGetCurrentIrpStackLocation(Irp).Parameters.DeviceIoControl.OutputBufferLength
    if Room < HV_EVENT_SIZE:
        return CompleteRequest(Irp, STATUS_BUFFER_TOO_SMALL, 0)
    Status = IoCsqInsertIrpEx(rq.Csq, Irp, NULL, NULL)
    return STATUS_PENDING if NT_SUCCESS(Status) else CompleteRequest(Irp, Status, 0)


def NextRequest():
    """The one that has waited longest, now the caller's to complete; NULL if there is none."""
    return IoCsqRemoveNextIrp(rq.Csq, NULL)


def CancelRequests() -> None:
    """IRP_MJ_CLEANUP: nobody waits for these any more, and none comes after them."""
    OldIrql = KeAcquireSpinLockRaiseToDpc(QueueLock)
    rq.Open = FALSE
    KeReleaseSpinLock(QueueLock, OldIrql)
    while Irp := NextRequest():
        CompleteRequest(Irp, STATUS_CANCELLED, 0)


def CompleteRequest(Irp, Status, Information) -> NTSTATUS:
    Irp.IoStatus.Status = Status
    Irp.IoStatus.Information = Information
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return Status


# The six routines of the queue. Insert, Remove and PeekNext are called with the lock held.


def CsqInsert(Csq, Irp, InsertContext) -> NTSTATUS:
    if not rq.Open:
        return STATUS_CANCELLED
    InsertTailList(rq.List, Irp.Tail.Overlay.ListEntry)
    return STATUS_SUCCESS


def CsqRemove(Csq, Irp) -> None:
    RemoveEntryList(Irp.Tail.Overlay.ListEntry)


def CsqPeekNext(Csq, Irp, PeekContext):
    """The one after Irp, or the first; the device is exclusive, so all are of one handle."""
    Entry = rq.List.Flink if Irp == NULL else Irp.Tail.Overlay.ListEntry.Flink
    return NULL if Entry == rq.List else CONTAINING_RECORD(Entry, IRP, "Tail.Overlay.ListEntry")


def CsqAcquire(Csq, Irql) -> None:
    Irql[0] = KeAcquireSpinLockRaiseToDpc(QueueLock)


def CsqRelease(Csq, Irql) -> None:
    KeReleaseSpinLock(QueueLock, Irql)


def CsqCompleteCanceled(Csq, Irp) -> None:
    CompleteRequest(Irp, STATUS_CANCELLED, 0)
