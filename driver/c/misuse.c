/* One control code for each misuse of a kernel object; the numbers are those of misuse_ioctl.py.

   misuse.py does the same in Python. */
#include <ntifs.h>

#define TAG 'tseT'
#define NOWHERE ((PVOID)0xffffa00000001000ULL)

static UNICODE_STRING DeviceName = RTL_CONSTANT_STRING(L"\\Device\\Misuse");
static UNICODE_STRING LinkName = RTL_CONSTANT_STRING(L"\\DosDevices\\Misuse");
static KEVENT Never;
static KTIMER Timer;
static volatile UCHAR Data[16] = { 0xc3 };
static KDPC Dpc;
static KMUTEX Mutex;
static KSPIN_LOCK Lock;
static ERESOURCE Resource;
static WORK_QUEUE_ITEM Item;
static PIO_WORKITEM WorkItem;
static KAPC_STATE Attached;

static NTSTATUS Complete(PIRP Irp, NTSTATUS Status)
{
    Irp->IoStatus.Status = Status;
    Irp->IoStatus.Information = 0;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return Status;
}

static NTSTATUS CreateClose(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    return Complete(Irp, STATUS_SUCCESS);
}

static PVOID Block(SIZE_T Size)
{
    return ExAllocatePoolWithTag(NonPagedPool, Size, TAG);
}

static VOID Pause(VOID)
{
    LARGE_INTEGER Due;

    Due.QuadPart = -500000;
    KeDelayExecutionThread(KernelMode, FALSE, &Due);
}

static VOID Thread(PKSTART_ROUTINE Routine)
{
    HANDLE Handle;

    PsCreateSystemThread(&Handle, 0, NULL, NULL, NULL, Routine, NULL);
    ZwClose(Handle);
    Pause();
}

static VOID ThreadNull(PVOID Context)
{
    UNREFERENCED_PARAMETER(Context);
    *(volatile ULONG *)8 = 1;
}

static VOID ThreadMutex(PVOID Context)
{
    UNREFERENCED_PARAMETER(Context);
    KeInitializeMutex(&Mutex, 0);
    KeWaitForSingleObject(&Mutex, Executive, KernelMode, FALSE, NULL);
}

static VOID ThreadRegion(PVOID Context)
{
    UNREFERENCED_PARAMETER(Context);
    KeEnterCriticalRegion();
}

static VOID ThreadLong(PVOID Context)
{
    UNREFERENCED_PARAMETER(Context);
    for (ULONG i = 0; i < 100; i++)
        Pause();
}

static VOID ThreadResource(PVOID Context)
{
    UNREFERENCED_PARAMETER(Context);
    ExReleaseResourceLite(&Resource);
}

static VOID DpcNothing(PKDPC D, PVOID Context, PVOID One, PVOID Two)
{
    UNREFERENCED_PARAMETER(D);
    UNREFERENCED_PARAMETER(Context);
    UNREFERENCED_PARAMETER(One);
    UNREFERENCED_PARAMETER(Two);
}

static VOID DpcWait(PKDPC D, PVOID Context, PVOID One, PVOID Two)
{
    DpcNothing(D, Context, One, Two);
    KeWaitForSingleObject(&Never, Executive, KernelMode, FALSE, NULL);
}

static VOID DpcNull(PKDPC D, PVOID Context, PVOID One, PVOID Two)
{
    DpcNothing(D, Context, One, Two);
    *(volatile ULONG *)8 = 1;
}

static VOID DpcLevel(PKDPC D, PVOID Context, PVOID One, PVOID Two)
{
    DpcNothing(D, Context, One, Two);
    KeLowerIrql(PASSIVE_LEVEL);
}

static VOID DpcRaise(PKDPC D, PVOID Context, PVOID One, PVOID Two)
{
    DpcNothing(D, Context, One, Two);
    ExRaiseStatus(STATUS_INVALID_PARAMETER);
}

static VOID RunDpc(PKDEFERRED_ROUTINE Routine)
{
    KeInitializeDpc(&Dpc, Routine, NULL);
    KeInsertQueueDpc(&Dpc, NULL, NULL);
    Pause();
}

static VOID WorkLevel(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    KIRQL Old;

    UNREFERENCED_PARAMETER(DeviceObject);
    UNREFERENCED_PARAMETER(Context);
    KeRaiseIrql(APC_LEVEL, &Old);
}

static VOID WorkNothing(PVOID Parameter)
{
    UNREFERENCED_PARAMETER(Parameter);
}

static VOID CancelNothing(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    UNREFERENCED_PARAMETER(Irp);
}

static VOID DereferencedTwice(VOID)
{
    HANDLE Handle;
    PVOID Found;
    ULONG Count;

    PsCreateSystemThread(&Handle, 0, NULL, NULL, NULL, WorkNothing, NULL);
    ObReferenceObjectByHandle(Handle, 0, NULL, KernelMode, &Found, NULL);
    KeWaitForSingleObject(Found, Executive, KernelMode, FALSE, NULL);
    ZwClose(Handle);
    for (Count = 0; Count < 8; Count++)
        ObDereferenceObject(Found);
}

static VOID NoStackLocation(PDEVICE_OBJECT DeviceObject)
{
    PIRP Irp = IoAllocateIrp(1, FALSE);

    IoSetNextIrpStackLocation(Irp);
    IoCallDriver(DeviceObject, Irp);
}

static VOID UnlockedTwice(VOID)
{
    PMDL Mdl = IoAllocateMdl(Block(64), 64, FALSE, FALSE, NULL);

    MmProbeAndLockPages(Mdl, KernelMode, IoReadAccess);
    MmUnlockPages(Mdl);
    MmUnlockPages(Mdl);
}

static VOID Misuse(ULONG Number, PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    LARGE_INTEGER Due;
    PUCHAR Pool;
    KIRQL Old;

    Due.QuadPart = -10000000;
    switch (Number) {
    case 0:
        KeRaiseIrql(DISPATCH_LEVEL, &Old);
        KeSetEvent(NOWHERE, 0, FALSE);
        break;
    case 1: Thread(ThreadNull); break;
    case 2:
        KeInitializeTimer(&Timer);
        KeInitializeDpc(&Dpc, DpcNothing, NULL);
        KeSetTimer(&Timer, Due, &Dpc);
        break;
    case 3: RunDpc(DpcWait); break;
    case 4: DereferencedTwice(); break;
    case 5: NoStackLocation(DeviceObject); break;
    case 6: MmProbeAndLockPages(IoAllocateMdl(Irp->UserBuffer, 16, FALSE, FALSE, NULL), UserMode,
                                IoWriteAccess); break;
    case 7: ExFreePoolWithTag(Block(0x30), TAG + 1); break;
    case 8:
        Pool = Block(0x30);
        RtlFillMemory(Pool, 0x40, 0xcc);
        ExFreePoolWithTag(Pool, TAG);
        break;
    case 9:
        KeInitializeMutex(&Mutex, 0);
        KeReleaseMutex(&Mutex, FALSE);
        break;
    case 10: KeBugCheckEx(0xe2, 1, 2, 3, 4);
    case 11: RunDpc(DpcNull); break;
    case 12: RunDpc(DpcLevel); break;
    case 13: KeUnstackDetachProcess(&Attached); break;
    case 14: KeSetSystemAffinityThread(0); break;
    case 15: IoSetCancelRoutine(Irp, CancelNothing); break;
    case 16:
        ExInitializeResourceLite(&Resource);
        KeEnterCriticalRegion();
        ExAcquireResourceExclusiveLite(&Resource, TRUE);
        Thread(ThreadResource);
        break;
    case 17:
        MmMapLockedPagesSpecifyCache(IoAllocateMdl(Block(64), 64, FALSE, FALSE, NULL), KernelMode,
                                     MmCached, NULL, FALSE, NormalPagePriority);
        break;
    case 18:
        IoQueueWorkItem(WorkItem, WorkLevel, DelayedWorkQueue, NULL);
        Pause();
        break;
    case 19: ExRaiseStatus(STATUS_INVALID_PARAMETER); break;
    case 20: RunDpc(DpcRaise); break;
    case 21:
        KeInitializeSpinLock(&Lock);
        KeAcquireSpinLock(&Lock, &Old);
        break;
    case 22: UnlockedTwice(); break;
    case 23: Thread(ThreadMutex); break;
    case 24: Thread(ThreadRegion); break;
    case 25:
        KeRaiseIrql(DISPATCH_LEVEL, &Old);
        ExInitializeWorkItem(&Item, WorkNothing, NULL);
        ExQueueWorkItem(&Item, DelayedWorkQueue);
        ExQueueWorkItem(&Item, DelayedWorkQueue);
        KeLowerIrql(Old);
        Pause();
        break;
    case 26: Thread(ThreadLong); break;
    case 27: Thread((PKSTART_ROUTINE)(ULONG_PTR)Data); break;
    }
}

static NTSTATUS Control(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    PIO_STACK_LOCATION Stack = IoGetCurrentIrpStackLocation(Irp);
    ULONG Code = Stack->Parameters.DeviceIoControl.IoControlCode;

    Misuse((Code >> 2 & 0xfff) - 0x800, DeviceObject, Irp);
    return Complete(Irp, STATUS_SUCCESS);
}

static VOID Unload(PDRIVER_OBJECT DriverObject)
{
    IoFreeWorkItem(WorkItem);
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
    IoCreateSymbolicLink(&LinkName, &DeviceName);
    WorkItem = IoAllocateWorkItem(Device);
    KeInitializeEvent(&Never, NotificationEvent, FALSE);
    DriverObject->MajorFunction[IRP_MJ_CREATE] = CreateClose;
    DriverObject->MajorFunction[IRP_MJ_CLOSE] = CreateClose;
    DriverObject->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control;
    DriverObject->DriverUnload = Unload;
    return STATUS_SUCCESS;
}
