"""winsiderss/systeminformer issue 275: an app's handle is used as the kernel's: 0xC4/0xF6.

The app passes the handle of an event. With KernelMode as access mode ObReferenceObjectByHandle asks
for no access right, so that an app may have the driver do what it may not do itself. Only Driver
Verifier notices.
"""

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
        EventHandle, EVENT_MODIFY_STATE, ExEventObjectType[0], KernelMode, NULL
    )
    if NT_SUCCESS(Status):
        KeSetEvent(cast(Event, PKEVENT), IO_NO_INCREMENT, FALSE)
        ObDereferenceObject(Event)
    return Status
