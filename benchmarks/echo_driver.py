"""The driver of bench_echo.py: sends back what it gets."""

from ntsim.wdm import *

DeviceName = UNICODE_STRING("\\Device\\Echo")
LinkName = UNICODE_STRING("\\DosDevices\\Echo")


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    Status, _ = IoCreateDevice(DriverObject, 0, DeviceName, FILE_DEVICE_UNKNOWN, 0, FALSE)
    if not NT_SUCCESS(Status):
        return Status
    DriverObject.MajorFunction[IRP_MJ_CREATE] = CreateClose
    DriverObject.MajorFunction[IRP_MJ_CLOSE] = CreateClose
    DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = DeviceControl
    return IoCreateSymbolicLink(LinkName, DeviceName)


def CreateClose(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    return Complete(Irp, 0)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Request = IoGetCurrentIrpStackLocation(Irp).Parameters.DeviceIoControl
    return Complete(Irp, min(Request.InputBufferLength, Request.OutputBufferLength))


def Complete(Irp: PIRP, Information: ULONG_PTR) -> NTSTATUS:
    Irp.IoStatus.Status = STATUS_SUCCESS
    Irp.IoStatus.Information = Information
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return STATUS_SUCCESS
