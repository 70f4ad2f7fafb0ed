"""From exits to the app: a ring of records for each processor, a DPC, requests that wait.

An exit handler can ask nobody for memory, wait for no lock and queue no work: it has interrupted
the system anywhere, also inside the routines it would call. What it can do is write to memory that
is there. So:

    Note        root operation: one record into this processor's ring, or one more that is lost
    DrainDpc    DISPATCH_LEVEL on the same processor, every ten milliseconds: records into requests
    requests.py the requests that wait, in a cancel-safe queue

A ring has one writer and one reader, both on one processor, and the writer never runs between two
instructions of itself: it needs no lock. Only Note writes `Written`, only the DPC writes `Read`;
each moves its own after the record has been filled in or copied. While no request waits records
stay in the ring, and when it is full the newest are lost; the next one that finds room says how
many.
"""

from driver.hypervisor.fields import GUEST_RIP
from driver.hypervisor.requests import (
    CompleteRequest,
    InitializeRequests,
    NextRequest,
    OpenRequests,
)
from driver.hypervisor.system_ioctl import HV_EVENT_SIZE
from driver.vmx_guest import vmread
from ntsim.intrin import *
from ntsim.wdm import *

RECORDS = 64  # for each processor
PERIOD = 10  # milliseconds
MONITOR_TAG = int.from_bytes(b"HvMo", "little")


class EXIT_RECORD(Structure):
    """One exit, as the app gets it (HV_EVENT_FORMAT). `Time` is the time-stamp counter."""

    Processor: ULONG
    Reason: ULONG
    Rip: ULONGLONG
    Detail: ULONGLONG
    Value: ULONGLONG
    Time: ULONGLONG
    Lost: ULONGLONG  # this many before it had no room


class EXIT_RING(Structure):
    """One processor's, with the timer whose DPC empties it."""

    Written: ULONGLONG
    Read: ULONGLONG
    Lost: ULONGLONG
    Records: EXIT_RECORD * RECORDS
    Timer: KTIMER
    Dpc: KDPC


class MONITOR_GLOBALS(Structure):
    Rings: POINTER(EXIT_RING)
    Count: ULONG


mo = MONITOR_GLOBALS()


def Note(Vcpu, Reason, Detail, Value) -> None:
    """In an exit handler. No routine of the kernel is called."""
    Ring = mo.Rings[Vcpu.Processor]
    if Ring.Written - Ring.Read == RECORDS:
        Ring.Lost += 1
        return
    Record = Ring.Records[Ring.Written % RECORDS]
    Record.Processor = Vcpu.Processor
    Record.Reason, Record.Detail, Record.Value = Reason, Detail, Value
    Record.Rip, Record.Time = vmread(GUEST_RIP), __rdtsc()
    Record.Lost = Ring.Lost
    Ring.Lost = 0
    Ring.Written += 1  # last: from here on it is the DPC's


def InitializeMonitor() -> NTSTATUS:
    """The rings: when the driver is loaded, at PASSIVE_LEVEL."""
    mo.Count = KeQueryActiveProcessorCount(NULL)
    Size = sizeof(EXIT_RING) * mo.Count
    mo.Rings = ExAllocatePoolWithTag(NonPagedPool, Size, MONITOR_TAG)
    if mo.Rings == NULL:
        return STATUS_INSUFFICIENT_RESOURCES
    RtlZeroMemory(mo.Rings, Size)
    for i in range(mo.Count):
        KeInitializeTimer(mo.Rings[i].Timer)
        KeInitializeDpc(mo.Rings[i].Dpc, DrainDpc, NULL)
        KeSetTargetProcessorDpc(mo.Rings[i].Dpc, i)
    InitializeRequests()
    return STATUS_SUCCESS


def StartMonitor() -> None:
    """The device is opened: nothing of whoever had it before."""
    Due = LARGE_INTEGER()
    Due.QuadPart = -PERIOD * 10000  # units of 100 ns; negative: from now
    OpenRequests()
    for i in range(mo.Count):
        Ring = mo.Rings[i]
        Ring.Written = Ring.Read = Ring.Lost = 0
        KeSetTimerEx(Ring.Timer, Due, PERIOD, Ring.Dpc)


def StopMonitor() -> None:
    """The device is closed. A DPC may be queued already, or run: wait until none is left."""
    for i in range(mo.Count):
        KeCancelTimer(mo.Rings[i].Timer)
    KeFlushQueuedDpcs()


def FreeMonitor() -> None:
    """When the driver is unloaded: nobody writes to the rings any more, nor reads them."""
    ExFreePoolWithTag(mo.Rings, MONITOR_TAG)
    mo.Rings = NULL


def DrainDpc(Dpc, Context, SystemArgument1, SystemArgument2) -> None:
    """On the processor whose ring it is; exits go on coming in between."""
    Ring = mo.Rings[KeGetCurrentProcessorNumberEx(NULL)]
    while Ring.Read != Ring.Written:
        Irp = NextRequest()
        if Irp == NULL:
            return
        Deliver(Irp, Ring)


def Deliver(Irp, Ring) -> None:
    """METHOD_BUFFERED: as many whole records as the app's buffer takes."""
    Room = IoGetCurrentIrpStackLocation(Irp).Parameters.DeviceIoControl.OutputBufferLength
    Length = 0
    while Ring.Read != Ring.Written and Length + HV_EVENT_SIZE <= Room:
        Record = Ring.Records[Ring.Read % RECORDS]
        RtlCopyMemory(Irp.AssociatedIrp.SystemBuffer + Length, Record, HV_EVENT_SIZE)
        Length += HV_EVENT_SIZE
        Ring.Read += 1  # last: from here on it may be written again
    CompleteRequest(Irp, STATUS_SUCCESS, Length)
