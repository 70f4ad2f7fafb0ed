"""misuse.c in Python: one control code for each misuse of a kernel object."""

from driver.c.misuse_ioctl import CODES
from ntsim.wdm import *

TAG = 0x7473_6554
NOWHERE = cast(0xFFFF_A000_0000_1000, PKEVENT)
DeviceName = UNICODE_STRING("\\Device\\Misuse")
LinkName = UNICODE_STRING("\\DosDevices\\Misuse")
Never, Timer, Dpc, Mutex = KEVENT(), KTIMER(), KDPC(), KMUTEX()
Lock, Resource, Item = KSPIN_LOCK(), ERESOURCE(), WORK_QUEUE_ITEM()
Attached, Data, WorkItem = KAPC_STATE(), (ULONG * 4)(), []


def Complete(Irp, Status):
    Irp.IoStatus.Status, Irp.IoStatus.Information = Status, 0
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return Status


def CreateClose(DeviceObject, Irp):
    return Complete(Irp, STATUS_SUCCESS)


def Block(Size):
    return ExAllocatePoolWithTag(NonPagedPool, Size, TAG)


def Relative(Time):
    Due = LARGE_INTEGER()
    Due.QuadPart = -Time
    return Due


def Pause():
    KeDelayExecutionThread(KernelMode, FALSE, Relative(500_000))


def Thread(Routine):
    _, Handle = PsCreateSystemThread(0, NULL, NULL, NULL, Routine, NULL)
    ZwClose(Handle)
    Pause()


def ThreadNull(Context):
    cast(8, PULONG)[0] = 1


def ThreadMutex(Context):
    KeInitializeMutex(Mutex, 0)
    KeWaitForSingleObject(Mutex, Executive, KernelMode, FALSE, NULL)


def ThreadRegion(Context):
    KeEnterCriticalRegion()


def ThreadLong(Context):
    for _ in range(100):
        Pause()


def ThreadResource(Context):
    ExReleaseResourceLite(Resource)


def DpcNothing(D, Context, One, Two):
    pass


def DpcWait(D, Context, One, Two):
    KeWaitForSingleObject(Never, Executive, KernelMode, FALSE, NULL)


def DpcNull(D, Context, One, Two):
    cast(8, PULONG)[0] = 1


def DpcLevel(D, Context, One, Two):
    KeLowerIrql(PASSIVE_LEVEL)


def DpcRaise(D, Context, One, Two):
    ExRaiseStatus(STATUS_INVALID_PARAMETER)


def RunDpc(Routine):
    KeInitializeDpc(Dpc, Routine, NULL)
    KeInsertQueueDpc(Dpc, NULL, NULL)
    Pause()


def WorkLevel(DeviceObject, Context):
    KeRaiseIrql(APC_LEVEL)


def WorkNothing(Parameter):
    pass


def CancelNothing(DeviceObject, Irp):
    pass


def event_at_dispatch(DeviceObject, Irp):
    KeRaiseIrql(DISPATCH_LEVEL)
    KeSetEvent(NOWHERE, 0, FALSE)


def thread_null(DeviceObject, Irp):
    Thread(ThreadNull)


def timer_left_set(DeviceObject, Irp):
    KeInitializeTimer(Timer)
    KeInitializeDpc(Dpc, DpcNothing, NULL)
    KeSetTimer(Timer, Relative(10_000_000), Dpc)


def wait_in_dpc(DeviceObject, Irp):
    RunDpc(DpcWait)


def dereferenced_twice(DeviceObject, Irp):
    _, Handle = PsCreateSystemThread(0, NULL, NULL, NULL, WorkNothing, NULL)
    _, Found = ObReferenceObjectByHandle(Handle, 0, NULL, KernelMode, NULL)
    KeWaitForSingleObject(Found, Executive, KernelMode, FALSE, NULL)
    ZwClose(Handle)
    for _ in range(8):
        ObDereferenceObject(Found)


def no_stack_location(DeviceObject, Irp):
    Made = IoAllocateIrp(1, FALSE)
    IoSetNextIrpStackLocation(Made)
    IoCallDriver(DeviceObject, Made)


def pages_left_locked(DeviceObject, Irp):
    MmProbeAndLockPages(
        IoAllocateMdl(Irp.UserBuffer, 16, FALSE, FALSE, NULL), UserMode, IoWriteAccess
    )


def other_tag(DeviceObject, Irp):
    ExFreePoolWithTag(Block(0x30), TAG + 1)


def pool_overrun(DeviceObject, Irp):
    Pool = Block(0x30)
    RtlFillMemory(Pool, 0x40, 0xCC)
    ExFreePoolWithTag(Pool, TAG)


def mutex_not_owned(DeviceObject, Irp):
    KeInitializeMutex(Mutex, 0)
    KeReleaseMutex(Mutex, FALSE)


def own_bugcheck(DeviceObject, Irp):
    KeBugCheckEx(0xE2, 1, 2, 3, 4)


def null_in_dpc(DeviceObject, Irp):
    RunDpc(DpcNull)


def level_after_dpc(DeviceObject, Irp):
    RunDpc(DpcLevel)


def detach_unattached(DeviceObject, Irp):
    KeUnstackDetachProcess(Attached)


def affinity_of_nobody(DeviceObject, Irp):
    KeSetSystemAffinityThread(0)


def cancel_routine_left(DeviceObject, Irp):
    IoSetCancelRoutine(Irp, CancelNothing)


def resource_not_owned(DeviceObject, Irp):
    ExInitializeResourceLite(Resource)
    KeEnterCriticalRegion()
    ExAcquireResourceExclusiveLite(Resource, TRUE)
    Thread(ThreadResource)


def mapping_unlocked(DeviceObject, Irp):
    Mdl = IoAllocateMdl(Block(64), 64, FALSE, FALSE, NULL)
    MmMapLockedPagesSpecifyCache(Mdl, KernelMode, MmCached, NULL, FALSE, NormalPagePriority)


def level_after_work(DeviceObject, Irp):
    IoQueueWorkItem(WorkItem[0], WorkLevel, DelayedWorkQueue, NULL)
    Pause()


def status_raised(DeviceObject, Irp):
    ExRaiseStatus(STATUS_INVALID_PARAMETER)


def status_raised_in_dpc(DeviceObject, Irp):
    RunDpc(DpcRaise)


def spin_lock_held(DeviceObject, Irp):
    KeInitializeSpinLock(Lock)
    KeAcquireSpinLock(Lock)


def unlocked_twice(DeviceObject, Irp):
    Mdl = IoAllocateMdl(Block(64), 64, FALSE, FALSE, NULL)
    MmProbeAndLockPages(Mdl, KernelMode, IoReadAccess)
    MmUnlockPages(Mdl)
    MmUnlockPages(Mdl)


def mutex_held_at_end(DeviceObject, Irp):
    Thread(ThreadMutex)


def region_not_left_at_end(DeviceObject, Irp):
    Thread(ThreadRegion)


def work_item_queued_twice(DeviceObject, Irp):
    Old = KeRaiseIrql(DISPATCH_LEVEL)
    ExInitializeWorkItem(Item, WorkNothing, NULL)
    ExQueueWorkItem(Item, DelayedWorkQueue)
    ExQueueWorkItem(Item, DelayedWorkQueue)
    KeLowerIrql(Old)
    Pause()


def thread_left_running(DeviceObject, Irp):
    Thread(ThreadLong)


def thread_in_data(DeviceObject, Irp):
    Thread(Data)


MISUSES = {code: globals()[name] for name, code in CODES.items()}


def Control(DeviceObject, Irp):
    Code = IoGetCurrentIrpStackLocation(Irp).Parameters.DeviceIoControl.IoControlCode
    MISUSES[Code](DeviceObject, Irp)
    return Complete(Irp, STATUS_SUCCESS)


def Unload(DriverObject):
    IoFreeWorkItem(WorkItem[0])
    IoDeleteSymbolicLink(LinkName)
    IoDeleteDevice(DriverObject.DeviceObject)


def DriverEntry(DriverObject, RegistryPath):
    Status, Device = IoCreateDevice(DriverObject, 0, DeviceName, FILE_DEVICE_UNKNOWN, 0, FALSE)
    if not NT_SUCCESS(Status):
        return Status
    IoCreateSymbolicLink(LinkName, DeviceName)
    WorkItem.append(IoAllocateWorkItem(Device))
    KeInitializeEvent(Never, NotificationEvent, FALSE)
    DriverObject.MajorFunction[IRP_MJ_CREATE] = CreateClose
    DriverObject.MajorFunction[IRP_MJ_CLOSE] = CreateClose
    DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control
    DriverObject.DriverUnload = Unload
    return STATUS_SUCCESS
