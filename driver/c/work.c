/* Work to measure: mixed code, and calls of an export. The device is \\.\Work. */
#include <ntddk.h>

static UNICODE_STRING DeviceName = RTL_CONSTANT_STRING(L"\\Device\\Work");
static UNICODE_STRING LinkName = RTL_CONSTANT_STRING(L"\\DosDevices\\Work");
static volatile ULONG Table[1024];

__attribute__((noinline)) static ULONG Mix(ULONG Value)
{
    Table[Value & 1023] += Value;
    return Value & 1 ? Value * 3 + 1 : Value / 2 + Table[(Value >> 3) & 1023];
}

static NTSTATUS Dispatch(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    PIO_STACK_LOCATION Stack = IoGetCurrentIrpStackLocation(Irp);
    ULONG Code = Stack->Parameters.DeviceIoControl.IoControlCode >> 2 & 0xfff, Value = 27;

    UNREFERENCED_PARAMETER(DeviceObject);
    if (Stack->MajorFunction == IRP_MJ_DEVICE_CONTROL) {
        if (Code == 0x800)
            for (ULONG i = 0; i < 1000000; i++)
                Value = Mix(Value);
        else
            for (ULONG i = 0; i < 10000; i++)
                KeQueryActiveProcessorCount(NULL);
    }
    Irp->IoStatus.Status = STATUS_SUCCESS;
    Irp->IoStatus.Information = Value == 0;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return STATUS_SUCCESS;
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    PDEVICE_OBJECT Device;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);
    Status = IoCreateDevice(DriverObject, 0, &DeviceName, FILE_DEVICE_UNKNOWN, 0, FALSE, &Device);
    if (!NT_SUCCESS(Status))
        return Status;
    DriverObject->MajorFunction[IRP_MJ_CREATE] = Dispatch;
    DriverObject->MajorFunction[IRP_MJ_CLOSE] = Dispatch;
    DriverObject->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Dispatch;
    return IoCreateSymbolicLink(&LinkName, &DeviceName);
}
