"""From exits to the app: records, a list, a thread, and requests that wait in a cancel-safe queue.

The exit handler takes a free record, fills it in and puts it on a list, by the two routines that
hold their lock with interrupts off (driver/vmexit_queue.py says why no others). A system thread
looks every ten milliseconds and completes one waiting request with as many records as it takes.
Requests wait in an IO_CSQ, so that they can be cancelled, and are when their app is killed.
"""

from driver.hypervisor.system_ioctl import HV_EVENT_FORMAT, HV_EVENT_SIZE
from ntsim.wdm import *

RECORDS = 64
INTERVAL = -10 * 1000 * 10  # ten milliseconds in units of 100 ns; negative: from now


class EXIT_RECORD(Structure):
    """One exit; on one of the two lists, or in the hands of whoever took it off."""

    Link: LIST_ENTRY
    Processor: ULONG
    Reason: ULONG
    Detail: ULONGLONG
    Value: ULONGLONG


class EVENT_GLOBALS(Structure):
    Csq: IO_CSQ
    Requests: LIST_ENTRY
    Free: LIST_ENTRY
    Noted: LIST_ENTRY
    Lost: ULONG
    Stop: BOOLEAN
    Thread: PVOID


ev = EVENT_GLOBALS()
Records = (EXIT_RECORD * RECORDS)()
RecordLock = KSPIN_LOCK()
QueueLock = KSPIN_LOCK()


def Note(Reason, Detail, Value) -> None:
    """From the exit handler: what no record is free for is lost, and counted."""
    Entry = ExInterlockedRemoveHeadList(ev.Free, RecordLock)
    if Entry == NULL:
        ev.Lost += 1
        return
    Record = CONTAINING_RECORD(Entry, EXIT_RECORD, "Link")
    Record.Processor = KeGetCurrentProcessorNumberEx(NULL)
    Record.Reason, Record.Detail, Record.Value = Reason, Detail, Value
    ExInterlockedInsertTailList(ev.Noted, Record.Link, RecordLock)


def StartEvents() -> NTSTATUS:
    """Lists, queue and thread."""
    InitializeListHead(ev.Free)
    InitializeListHead(ev.Noted)
    InitializeListHead(ev.Requests)
    KeInitializeSpinLock(RecordLock)
    KeInitializeSpinLock(QueueLock)
    for i in range(RECORDS):
        InsertTailList(ev.Free, Records[i].Link)
    ev.Stop = FALSE
    IoCsqInitialize(
        ev.Csq, CsqInsert, CsqRemove, CsqPeekNext, CsqAcquire, CsqRelease, CsqCompleteCanceled
    )
    Status, Handle = PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, Deliverer, NULL)
    if not NT_SUCCESS(Status):
        return Status
    Status, ev.Thread = ObReferenceObjectByHandle(Handle, THREAD_ALL_ACCESS, NULL, KernelMode, NULL)
    ZwClose(Handle)
    return Status


def StopEvents() -> None:
    """The thread's code goes away with the driver, so wait for its end."""
    ev.Stop = TRUE
    KeWaitForSingleObject(ev.Thread, Executive, KernelMode, FALSE, NULL)
    ObDereferenceObject(ev.Thread)


def WaitForEvents(Irp) -> NTSTATUS:
    """The request waits; Deliverer or a cancellation completes it."""
    IoCsqInsertIrp(ev.Csq, Irp, NULL)
    return STATUS_PENDING


def CancelRequests(FileObject) -> None:
    """IRP_MJ_CLEANUP: nobody waits for these any more."""
    while Irp := IoCsqRemoveNextIrp(ev.Csq, FileObject):
        CompleteRequest(Irp, STATUS_CANCELLED, 0)


def Deliverer(Context) -> None:
    Interval = LARGE_INTEGER()
    Interval.QuadPart = INTERVAL
    while not ev.Stop:
        KeDelayExecutionThread(KernelMode, FALSE, Interval)
        while not IsListEmpty(ev.Noted):
            Irp = IoCsqRemoveNextIrp(ev.Csq, NULL)
            if Irp == NULL:
                break
            Deliver(Irp)
    PsTerminateSystemThread(STATUS_SUCCESS)


def Deliver(Irp) -> None:
    """METHOD_BUFFERED: as many whole records as the app's buffer takes."""
    Room = IoGetCurrentIrpStackLocation(Irp).Parameters.DeviceIoControl.OutputBufferLength
    Length = 0
    while Length + HV_EVENT_SIZE <= Room:
        Entry = ExInterlockedRemoveHeadList(ev.Noted, RecordLock)
        if Entry == NULL:
            break
        Record = CONTAINING_RECORD(Entry, EXIT_RECORD, "Link")
        Packed = Pack(Record.Processor, Record.Reason, Record.Detail, Record.Value)
        write_bytes(Irp.AssociatedIrp.SystemBuffer + Length, Packed)
        Length += HV_EVENT_SIZE
        ExInterlockedInsertTailList(ev.Free, Record.Link, RecordLock)
    CompleteRequest(Irp, STATUS_SUCCESS, Length)


def Pack(*Values) -> bytes:
    return b"".join(
        Value.to_bytes(Size, "little") for Value, Size in zip(Values, HV_EVENT_FORMAT, strict=True)
    )


def CompleteRequest(Irp, Status, Information) -> NTSTATUS:
    Irp.IoStatus.Status = Status
    Irp.IoStatus.Information = Information
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return Status


# The six routines of the queue.


def CsqInsert(Csq, Irp) -> None:
    InsertTailList(ev.Requests, Irp.Tail.Overlay.ListEntry)


def CsqRemove(Csq, Irp) -> None:
    RemoveEntryList(Irp.Tail.Overlay.ListEntry)


def CsqPeekNext(Csq, Irp, FileObject):
    """The first after Irp, of FileObject if that is given."""
    Entry = ev.Requests.Flink if Irp == NULL else Irp.Tail.Overlay.ListEntry.Flink
    while Entry != ev.Requests:
        Next = CONTAINING_RECORD(Entry, IRP, "Tail.Overlay.ListEntry")
        if FileObject == NULL or IoGetCurrentIrpStackLocation(Next).FileObject == FileObject:
            return Next
        Entry = Entry.Flink
    return NULL


def CsqAcquire(Csq, Irql) -> None:
    Irql[0] = KeAcquireSpinLockRaiseToDpc(QueueLock)


def CsqRelease(Csq, Irql) -> None:
    KeReleaseSpinLock(QueueLock, Irql)


def CsqCompleteCanceled(Csq, Irp) -> None:
    CompleteRequest(Irp, STATUS_CANCELLED, 0)
