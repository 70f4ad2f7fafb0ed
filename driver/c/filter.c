/* A filter: attaches to \Device\Base and passes requests on, with a completion routine. */
#include <ntddk.h>

static PDEVICE_OBJECT Lower;
static LONG Seen;

static NTSTATUS Completed(PDEVICE_OBJECT DeviceObject, PIRP Irp, PVOID Context)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    DbgPrint("filter: completed with %x, %I64u bytes, request %p\n", Irp->IoStatus.Status,
             Irp->IoStatus.Information, Context);
    if (Irp->PendingReturned)
        IoMarkIrpPending(Irp);
    return STATUS_CONTINUE_COMPLETION;
}

static NTSTATUS PassOn(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    PIO_STACK_LOCATION Stack = IoGetCurrentIrpStackLocation(Irp);

    UNREFERENCED_PARAMETER(DeviceObject);
    if (Stack->MajorFunction != IRP_MJ_DEVICE_CONTROL) {
        IoSkipCurrentIrpStackLocation(Irp);
        return IoCallDriver(Lower, Irp);
    }
    IoCopyCurrentIrpStackLocationToNext(Irp);
    IoSetCompletionRoutine(Irp, Completed, (PVOID)(ULONG_PTR)InterlockedIncrement(&Seen), TRUE,
                           TRUE, TRUE);
    return IoCallDriver(Lower, Irp);
}

static VOID FilterUnload(PDRIVER_OBJECT DriverObject)
{
    IoDetachDevice(Lower);
    IoDeleteDevice(DriverObject->DeviceObject);
    DbgPrint("filter: saw %d\n", Seen);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    static UNICODE_STRING Name = RTL_CONSTANT_STRING(L"\\Device\\Base");
    PDEVICE_OBJECT Device, Target;
    PFILE_OBJECT File;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);
    Status = IoGetDeviceObjectPointer(&Name, FILE_READ_DATA, &File, &Target);
    if (!NT_SUCCESS(Status))
        return Status;
    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &Device);
    if (NT_SUCCESS(Status)) {
        for (ULONG i = 0; i <= IRP_MJ_MAXIMUM_FUNCTION; i++)
            DriverObject->MajorFunction[i] = PassOn;
        DriverObject->DriverUnload = FilterUnload;
        Device->Flags |= Target->Flags & (DO_BUFFERED_IO | DO_DIRECT_IO);
        Lower = IoAttachDeviceToDeviceStack(Device, Target);
        Device->Flags &= ~DO_DEVICE_INITIALIZING;
    }
    ObDereferenceObject(File);
    return Status;
}
