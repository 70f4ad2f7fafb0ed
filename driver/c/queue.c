/* Reads wait in a cancel-safe queue; writes complete them one by one; CLEANUP cancels the rest. */
#include <ntddk.h>

static UNICODE_STRING DeviceName = RTL_CONSTANT_STRING(L"\\Device\\Queue");
static UNICODE_STRING LinkName = RTL_CONSTANT_STRING(L"\\DosDevices\\Queue");
static IO_CSQ Csq;
static LIST_ENTRY Pending;
static KSPIN_LOCK Lock;
static ULONG Canceled;

static VOID Insert(PIO_CSQ Queue, PIRP Irp)
{
    UNREFERENCED_PARAMETER(Queue);
    InsertTailList(&Pending, &Irp->Tail.Overlay.ListEntry);
}

static VOID Remove(PIO_CSQ Queue, PIRP Irp)
{
    UNREFERENCED_PARAMETER(Queue);
    RemoveEntryList(&Irp->Tail.Overlay.ListEntry);
}

static PIRP Peek(PIO_CSQ Queue, PIRP Irp, PVOID Context)
{
    PLIST_ENTRY Next = Irp == NULL ? Pending.Flink : Irp->Tail.Overlay.ListEntry.Flink;

    UNREFERENCED_PARAMETER(Queue);
    for (; Next != &Pending; Next = Next->Flink) {
        PIRP Found = CONTAINING_RECORD(Next, IRP, Tail.Overlay.ListEntry);
        if (Context == NULL || IoGetCurrentIrpStackLocation(Found)->FileObject == Context)
            return Found;
    }
    return NULL;
}

static VOID Acquire(PIO_CSQ Queue, PKIRQL Irql)
{
    UNREFERENCED_PARAMETER(Queue);
    KeAcquireSpinLock(&Lock, Irql);
}

static VOID Release(PIO_CSQ Queue, KIRQL Irql)
{
    UNREFERENCED_PARAMETER(Queue);
    KeReleaseSpinLock(&Lock, Irql);
}

static NTSTATUS Complete(PIRP Irp, NTSTATUS Status, ULONG_PTR Information)
{
    Irp->IoStatus.Status = Status;
    Irp->IoStatus.Information = Information;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return Status;
}

static VOID CompleteCanceled(PIO_CSQ Queue, PIRP Irp)
{
    UNREFERENCED_PARAMETER(Queue);
    Canceled++;
    Complete(Irp, STATUS_CANCELLED, 0);
}

static NTSTATUS Cleanup(PIRP Irp, PFILE_OBJECT File)
{
    PIRP Waiting;

    while ((Waiting = IoCsqRemoveNextIrp(&Csq, File)) != NULL)
        CompleteCanceled(&Csq, Waiting);
    DbgPrint("cleanup: %u canceled so far\n", Canceled);
    return Complete(Irp, STATUS_SUCCESS, 0);
}

static NTSTATUS Give(PIRP Irp, ULONG Length)
{
    PIRP Reader = IoCsqRemoveNextIrp(&Csq, NULL);
    ULONG Room;

    if (Reader == NULL)
        return Complete(Irp, STATUS_DEVICE_NOT_READY, 0);
    Room = IoGetCurrentIrpStackLocation(Reader)->Parameters.Read.Length;
    if (Length > Room)
        Length = Room;
    RtlCopyMemory(Reader->AssociatedIrp.SystemBuffer, Irp->AssociatedIrp.SystemBuffer, Length);
    Complete(Reader, STATUS_SUCCESS, Length);
    return Complete(Irp, STATUS_SUCCESS, Length);
}

static NTSTATUS Dispatch(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    PIO_STACK_LOCATION Stack = IoGetCurrentIrpStackLocation(Irp);

    UNREFERENCED_PARAMETER(DeviceObject);
    switch (Stack->MajorFunction) {
    case IRP_MJ_READ:
        IoCsqInsertIrp(&Csq, Irp, NULL);
        return STATUS_PENDING;
    case IRP_MJ_WRITE:
        return Give(Irp, Stack->Parameters.Write.Length);
    case IRP_MJ_CLEANUP:
        return Cleanup(Irp, Stack->FileObject);
    }
    return Complete(Irp, STATUS_SUCCESS, 0);
}

static VOID Unload(PDRIVER_OBJECT DriverObject)
{
    IoDeleteSymbolicLink(&LinkName);
    IoDeleteDevice(DriverObject->DeviceObject);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    PDEVICE_OBJECT Device;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);
    InitializeListHead(&Pending);
    KeInitializeSpinLock(&Lock);
    IoCsqInitialize(&Csq, Insert, Remove, Peek, Acquire, Release, CompleteCanceled);
    Status = IoCreateDevice(DriverObject, 0, &DeviceName, FILE_DEVICE_UNKNOWN, 0, FALSE, &Device);
    if (!NT_SUCCESS(Status))
        return Status;
    Device->Flags |= DO_BUFFERED_IO;
    for (ULONG i = 0; i <= IRP_MJ_MAXIMUM_FUNCTION; i++)
        DriverObject->MajorFunction[i] = Dispatch;
    DriverObject->DriverUnload = Unload;
    return IoCreateSymbolicLink(&LinkName, &DeviceName);
}
