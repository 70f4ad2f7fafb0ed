"""Mattiwatti/EfiGuard issue 28: a routine is patched where it stands: bug check 0xBE.

There it is the kernel's routine that checks signatures, here another driver's. Code is mapped
read-only, and with CR0.WP set that holds for the kernel as well. The second parameter is the page
table entry: present, not writable. Whoever must patch needs a second mapping of the page.
"""

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
    write_bytes(Address, Bytes)
    return STATUS_SUCCESS
