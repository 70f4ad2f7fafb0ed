"""OSR "stack size" article: an IRP is forwarded to a device for which it has no location: 0x35.

The driver passes its requests on to another device, which it has opened by name and not attached
to. The I/O manager makes IRPs with as many stack locations as the app's device says in StackSize:
one, and this driver needs it for itself. Look at DriverEntry.
"""

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
    return STATUS_SUCCESS


def Unload(DriverObject: PDRIVER_OBJECT) -> None:
    DeleteDevice(DriverObject)
    ObDereferenceObject(LowerFile[0])


def Forward(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    IoCopyCurrentIrpStackLocationToNext(Irp)
    return IoCallDriver(cast(LowerDevice[0], PDEVICE_OBJECT), Irp)
