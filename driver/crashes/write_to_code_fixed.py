"""write_to_code.py put right: the page gets a second mapping that may be written."""

from driver.crashes.device import *
from ntsim.wdm import *

HookedName = UNICODE_STRING("\\Device\\Hooked")
HookedFile, HookedDevice = PVOID(), PVOID()
BREAKPOINT = b"\xcc"


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Status = STATUS_SUCCESS
    if CodeOf(Irp) == CRASH_WORK:
        Status = PatchAndRestore()
    return Complete(Irp, Status)


def PatchAndRestore() -> NTSTATUS:
    Status = IoGetDeviceObjectPointer(HookedName, FILE_READ_DATA, HookedFile, HookedDevice)
    if not NT_SUCCESS(Status):
        return Status
    Driver = cast(HookedDevice[0], PDEVICE_OBJECT).DriverObject
    Routine = Driver.MajorFunction[IRP_MJ_DEVICE_CONTROL]
    Before = read_bytes(Routine, 1)
    Status = Patch(Routine, BREAKPOINT)
    if NT_SUCCESS(Status):
        Status = Patch(Routine, Before)
    ObDereferenceObject(HookedFile[0])
    return Status


def Patch(Address: PVOID, Bytes) -> NTSTATUS:
    Mdl = IoAllocateMdl(Address, len(Bytes), FALSE, FALSE, NULL)
    if not Mdl:
        return STATUS_INSUFFICIENT_RESOURCES
    MmProbeAndLockPages(Mdl, KernelMode, IoReadAccess)
    Second = MmMapLockedPagesSpecifyCache(
        Mdl, KernelMode, MmCached, NULL, FALSE, NormalPagePriority
    )
    if Second:
        write_bytes(Second, Bytes)
        MmUnmapLockedPages(Second, Mdl)
    MmUnlockPages(Mdl)
    IoFreeMdl(Mdl)
    return STATUS_SUCCESS if Second else STATUS_INSUFFICIENT_RESOURCES
