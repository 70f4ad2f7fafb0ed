"""basil00/WinDivert issue 330: a request comes before there is what it needs: bug check 0xD1.

The app should initialize its handle and then start it, and does it the other way round. The context
that Initialize makes is not there, and Startup follows its pointer with a spin lock held. Below
DISPATCH_LEVEL that would have been an exception, which a handler can take; here it is the end.
"""

from driver.crashes.device import *
from ntsim.wdm import *


class CONTEXT_DATA(Structure):
    Packets: LIST_ENTRY
    Started: BOOLEAN


PCONTEXT_DATA = POINTER(CONTEXT_DATA)
TAG = 0x76694457  # 'WDiv'
Lock, Context = KSPIN_LOCK(), PVOID()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    KeInitializeSpinLock(Lock)
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Code, Status = CodeOf(Irp), STATUS_SUCCESS
    if Code == CRASH_START:
        Status = Startup()
    elif Code == CRASH_WORK:
        Status = Initialize()
    elif Code == CRASH_STOP and Context[0]:
        ExFreePoolWithTag(Context[0], TAG)
        Context[0] = NULL
    return Complete(Irp, Status)


def Initialize() -> NTSTATUS:
    New = cast(ExAllocatePoolZero(NonPagedPoolNx, sizeof(CONTEXT_DATA), TAG), PCONTEXT_DATA)
    if not New:
        return STATUS_INSUFFICIENT_RESOURCES
    InitializeListHead(New.Packets)
    Context[0] = New
    return STATUS_SUCCESS


def Startup() -> NTSTATUS:
    OldIrql = KeAcquireSpinLock(Lock)
    cast(Context[0], PCONTEXT_DATA).Started = TRUE
    KeReleaseSpinLock(Lock, OldIrql)
    return STATUS_SUCCESS
