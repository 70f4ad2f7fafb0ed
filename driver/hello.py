"""The first driver: a device with a name, one control code that answers, and a clean way out.

Look at HelloDeviceControl. METHOD_BUFFERED gives the driver one kernel buffer, SystemBuffer: what
the app sent is in it, and as many bytes as Information says go back.
"""

from driver.hello_ioctl import HELLO_GREET
from ntsim.wdm import *

DeviceName = UNICODE_STRING("\\Device\\Hello")
LinkName = UNICODE_STRING("\\DosDevices\\Hello")  # what an app opens as \\.\Hello


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    Status, DeviceObject = IoCreateDevice(
        DriverObject, 0, DeviceName, FILE_DEVICE_UNKNOWN, 0, FALSE
    )
    if not NT_SUCCESS(Status):
        return Status
    DriverObject.MajorFunction[IRP_MJ_CREATE] = HelloCreateClose
    DriverObject.MajorFunction[IRP_MJ_CLOSE] = HelloCreateClose
    DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = HelloDeviceControl
    DriverObject.DriverUnload = HelloUnload
    Status = IoCreateSymbolicLink(LinkName, DeviceName)
    if not NT_SUCCESS(Status):
        IoDeleteDevice(DeviceObject)
    return Status


def HelloCreateClose(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    return Complete(Irp, STATUS_SUCCESS, 0)


def HelloDeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Request = IoGetCurrentIrpStackLocation(Irp).Parameters.DeviceIoControl
    if Request.IoControlCode != HELLO_GREET:
        return Complete(Irp, STATUS_INVALID_DEVICE_REQUEST, 0)
    Name = read_bytes(Irp.AssociatedIrp.SystemBuffer, Request.InputBufferLength)
    Answer = b"Hello, " + Name + b"!"
    if Request.OutputBufferLength < len(Answer):
        return Complete(Irp, STATUS_BUFFER_TOO_SMALL, 0)
    write_bytes(Irp.AssociatedIrp.SystemBuffer, Answer)
    return Complete(Irp, STATUS_SUCCESS, len(Answer))


def Complete(Irp: PIRP, Status: NTSTATUS, Information: ULONG_PTR) -> NTSTATUS:
    Irp.IoStatus.Status = Status
    Irp.IoStatus.Information = Information
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return Status


def HelloUnload(DriverObject: PDRIVER_OBJECT) -> None:
    IoDeleteSymbolicLink(LinkName)
    IoDeleteDevice(DriverObject.DeviceObject)
