"""stack_size_too_small.py put right: a location more than the device below wants."""

from driver.crashes.device import *
from ntsim.wdm import *

LowerName, LowerFile, LowerDevice = UNICODE_STRING("\\Device\\Lower"), PVOID(), PVOID()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    Status = IoGetDeviceObjectPointer(LowerName, FILE_READ_DATA, LowerFile, LowerDevice)
    if not NT_SUCCESS(Status):
        return Status
    Status = CreateDevice(DriverObject, Forward)
    if not NT_SUCCESS(Status):
        ObDereferenceObject(LowerFile[0])
        return Status
    DriverObject.DriverUnload = Unload
    Lower = cast(LowerDevice[0], PDEVICE_OBJECT)
    DriverObject.DeviceObject.StackSize = Lower.StackSize + 1
    return STATUS_SUCCESS


def Unload(DriverObject: PDRIVER_OBJECT) -> None:
    DeleteDevice(DriverObject)
    ObDereferenceObject(LowerFile[0])


def Forward(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    IoCopyCurrentIrpStackLocationToNext(Irp)
    return IoCallDriver(cast(LowerDevice[0], PDEVICE_OBJECT), Irp)
