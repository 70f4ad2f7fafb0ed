/* xinali/articles issue 32: the link's name lies in the INIT section, and unloading reads it: 0x50.

   What is marked INIT leaves memory when DriverEntry has returned. Here DriverEntry's name of the
   link is in it, for it seems to be needed there alone; but the UNICODE_STRING that keeps its
   address is used again at unload. link_in_init_fixed.c is the same put right. */
#include <ntddk.h>

__attribute__((section("INIT"))) static const WCHAR LinkText[] = L"\\DosDevices\\Crash";

static UNICODE_STRING DeviceName = RTL_CONSTANT_STRING(L"\\Device\\Crash");
static UNICODE_STRING LinkName;

static NTSTATUS Succeed(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    Irp->IoStatus.Status = STATUS_SUCCESS;
    Irp->IoStatus.Information = 0;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return STATUS_SUCCESS;
}

static VOID Unload(PDRIVER_OBJECT DriverObject)
{
    IoDeleteSymbolicLink(&LinkName);
    IoDeleteDevice(DriverObject->DeviceObject);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    PDEVICE_OBJECT DeviceObject;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);
    RtlInitUnicodeString(&LinkName, LinkText);
    Status = IoCreateDevice(DriverObject, 0, &DeviceName, FILE_DEVICE_UNKNOWN,
                            FILE_DEVICE_SECURE_OPEN, FALSE, &DeviceObject);
    if (!NT_SUCCESS(Status))
        return Status;
    for (ULONG i = 0; i <= IRP_MJ_MAXIMUM_FUNCTION; i++)
        DriverObject->MajorFunction[i] = Succeed;
    DriverObject->DriverUnload = Unload;
    Status = IoCreateSymbolicLink(&LinkName, &DeviceName);
    if (!NT_SUCCESS(Status))
        IoDeleteDevice(DeviceObject);
    return Status;
}
