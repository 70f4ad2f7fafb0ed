"""unloaded_in_a_hook.py put right: unload waits until the last thread has left the hook."""

from driver.crashes.device import *
from ntsim.wdm import *

HookedName = UNICODE_STRING("\\Device\\Hooked")
HookedFile, HookedDevice, Original = PVOID(), PVOID(), PVOID()
Inside = EX_RUNDOWN_REF()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    Status = IoGetDeviceObjectPointer(HookedName, FILE_READ_DATA, HookedFile, HookedDevice)
    if not NT_SUCCESS(Status):
        return Status
    ExInitializeRundownProtection(Inside)
    Original[0] = Table()[IRP_MJ_DEVICE_CONTROL]
    Table()[IRP_MJ_DEVICE_CONTROL] = Hook
    DriverObject.DriverUnload = Unload
    return STATUS_SUCCESS


def Table():
    return cast(HookedDevice[0], PDEVICE_OBJECT).DriverObject.MajorFunction


def Hook(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    """In the place of the original: the same answer, only later."""
    if not ExAcquireRundownProtection(Inside):
        return Complete(Irp, STATUS_SUCCESS)
    KeDelayExecutionThread(KernelMode, FALSE, Milliseconds(50))
    Status = Complete(Irp, STATUS_SUCCESS)
    ExReleaseRundownProtection(Inside)
    return Status


def Unload(DriverObject: PDRIVER_OBJECT) -> None:
    Table()[IRP_MJ_DEVICE_CONTROL] = Original[0]
    ExWaitForRundownProtectionRelease(Inside)
    ObDereferenceObject(HookedFile[0])
