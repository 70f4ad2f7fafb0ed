"""winsiderss/systeminformer issue 1779: an early return skips KeLeaveCriticalRegion: 0x1.

Whoever acquires a resource disables normal kernel APCs first, so that no APC can suspend the thread
while it owns the resource. FindProcess leaves the region on every way but one, that of a process it
does not know. The thread goes back to user mode with its APCs still disabled.
"""

from driver.crashes.device import *
from ntsim.wdm import *

KnownProcess, ProcessLock = HANDLE(), ERESOURCE()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    ExInitializeResourceLite(ProcessLock)
    Status = CreateDevice(DriverObject, DeviceControl)
    if not NT_SUCCESS(Status):
        ExDeleteResourceLite(ProcessLock)
    DriverObject.DriverUnload = Unload
    return Status


def Unload(DriverObject: PDRIVER_OBJECT) -> None:
    DeleteDevice(DriverObject)
    ExDeleteResourceLite(ProcessLock)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Code, Status = CodeOf(Irp), STATUS_SUCCESS
    if Code == CRASH_START:
        KnownProcess[0] = PsGetCurrentProcessId()
    elif Code == CRASH_WORK:
        Status = FindProcess(PsGetCurrentProcessId())
    elif Code == CRASH_STOP:
        Status = FindProcess(PsGetCurrentProcessId() + 4)
    return Complete(Irp, Status)


def FindProcess(ProcessId: HANDLE) -> NTSTATUS:
    KeEnterCriticalRegion()
    ExAcquireResourceSharedLite(ProcessLock, TRUE)
    Found = KnownProcess[0] == ProcessId
    ExReleaseResourceLite(ProcessLock)
    if not Found:
        return STATUS_NOT_FOUND
    KeLeaveCriticalRegion()
    return STATUS_SUCCESS
