"""critical_region_not_left.py put right: the region is left on every way out."""

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
    KeLeaveCriticalRegion()
    return STATUS_SUCCESS if Found else STATUS_NOT_FOUND
