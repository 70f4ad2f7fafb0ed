"""everdox/InfinityHook issue 9: a driver is unloaded while a thread is in its hook: bug check 0xCE.

The driver puts a routine of its own into another driver's dispatch table, and back at unload what
stood there. That keeps new calls away. A thread that is in the routine already goes on in it when
it wakes up, and the code is gone. Look at Unload.
"""

from driver.crashes.device import *
from ntsim.wdm import *

HookedName = UNICODE_STRING("\\Device\\Hooked")
HookedFile, HookedDevice, Original = PVOID(), PVOID(), PVOID()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    Status = IoGetDeviceObjectPointer(HookedName, FILE_READ_DATA, HookedFile, HookedDevice)
    if not NT_SUCCESS(Status):
        return Status
    Original[0] = Table()[IRP_MJ_DEVICE_CONTROL]
    Table()[IRP_MJ_DEVICE_CONTROL] = Hook
    DriverObject.DriverUnload = Unload
    return STATUS_SUCCESS


def Table():
    return cast(HookedDevice[0], PDEVICE_OBJECT).DriverObject.MajorFunction


def Hook(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    """In the place of the original: the same answer, only later."""
    KeDelayExecutionThread(KernelMode, FALSE, Milliseconds(50))
    return Complete(Irp, STATUS_SUCCESS)


def Unload(DriverObject: PDRIVER_OBJECT) -> None:
    Table()[IRP_MJ_DEVICE_CONTROL] = Original[0]
    ObDereferenceObject(HookedFile[0])
