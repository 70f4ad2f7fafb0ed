"""user_handle_as_kernel.py put right: the handle is an app's, so its access is checked."""

from driver.crashes.device import *
from ntsim.wdm import *


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Status = STATUS_SUCCESS
    if CodeOf(Irp) == CRASH_START:
        Status = SignalApp(cast(Irp.AssociatedIrp.SystemBuffer, PHANDLE)[0])
    return Complete(Irp, Status)


def SignalApp(EventHandle: HANDLE) -> NTSTATUS:
    Status, Event = ObReferenceObjectByHandle(
        EventHandle, EVENT_MODIFY_STATE, ExEventObjectType[0], UserMode, NULL
    )
    if NT_SUCCESS(Status):
        KeSetEvent(cast(Event, PKEVENT), IO_NO_INCREMENT, FALSE)
        ObDereferenceObject(Event)
    return Status
