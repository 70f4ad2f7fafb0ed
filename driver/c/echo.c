/* Gives back what it gets, by each of the four transfer methods. */
#include <ntddk.h>

#define ECHO_CODE(method) CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800 + (method), (method), FILE_ANY_ACCESS)

static UNICODE_STRING DeviceName = RTL_CONSTANT_STRING(L"\\Device\\Echo");
static UNICODE_STRING LinkName = RTL_CONSTANT_STRING(L"\\DosDevices\\Echo");

static NTSTATUS Complete(PIRP Irp, NTSTATUS Status, ULONG_PTR Information)
{
    Irp->IoStatus.Status = Status;
    Irp->IoStatus.Information = Information;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return Status;
}

static NTSTATUS EchoCreateClose(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    return Complete(Irp, STATUS_SUCCESS, 0);
}

/* Raw user addresses: whatever they are, the caller gets a status and the system goes on. */
static NTSTATUS EchoNeither(PVOID Input, PVOID Output, ULONG Length)
{
    __try {
        ProbeForRead(Input, Length, 1);
        ProbeForWrite(Output, Length, 1);
        RtlCopyMemory(Output, Input, Length);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        return GetExceptionCode();
    }
    return STATUS_SUCCESS;
}

static NTSTATUS EchoControl(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    PIO_STACK_LOCATION Stack = IoGetCurrentIrpStackLocation(Irp);
    ULONG In = Stack->Parameters.DeviceIoControl.InputBufferLength;
    ULONG Out = Stack->Parameters.DeviceIoControl.OutputBufferLength;
    ULONG Length = In < Out ? In : Out;
    PVOID Mapped;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DeviceObject);
    switch (Stack->Parameters.DeviceIoControl.IoControlCode) {
    case ECHO_CODE(METHOD_BUFFERED):
        return Complete(Irp, STATUS_SUCCESS, Length);
    case ECHO_CODE(METHOD_IN_DIRECT):
    case ECHO_CODE(METHOD_OUT_DIRECT):
        if (Irp->MdlAddress == NULL)
            return Complete(Irp, STATUS_INVALID_PARAMETER, 0);
        Mapped = MmGetSystemAddressForMdlSafe(Irp->MdlAddress, NormalPagePriority);
        if (Mapped == NULL)
            return Complete(Irp, STATUS_INSUFFICIENT_RESOURCES, 0);
        RtlCopyMemory(Mapped, Irp->AssociatedIrp.SystemBuffer, Length);
        return Complete(Irp, STATUS_SUCCESS, Length);
    case ECHO_CODE(METHOD_NEITHER):
        Status = EchoNeither(Stack->Parameters.DeviceIoControl.Type3InputBuffer,
                             Irp->UserBuffer, Length);
        return Complete(Irp, Status, NT_SUCCESS(Status) ? Length : 0);
    }
    return Complete(Irp, STATUS_INVALID_DEVICE_REQUEST, 0);
}

static VOID EchoUnload(PDRIVER_OBJECT DriverObject)
{
    IoDeleteSymbolicLink(&LinkName);
    IoDeleteDevice(DriverObject->DeviceObject);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    PDEVICE_OBJECT Device;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);
    Status = IoCreateDevice(DriverObject, 0, &DeviceName, FILE_DEVICE_UNKNOWN, 0, FALSE, &Device);
    if (!NT_SUCCESS(Status))
        return Status;
    Status = IoCreateSymbolicLink(&LinkName, &DeviceName);
    if (!NT_SUCCESS(Status)) {
        IoDeleteDevice(Device);
        return Status;
    }
    DriverObject->MajorFunction[IRP_MJ_CREATE] = EchoCreateClose;
    DriverObject->MajorFunction[IRP_MJ_CLOSE] = EchoCreateClose;
    DriverObject->MajorFunction[IRP_MJ_DEVICE_CONTROL] = EchoControl;
    DriverObject->DriverUnload = EchoUnload;
    return STATUS_SUCCESS;
}
