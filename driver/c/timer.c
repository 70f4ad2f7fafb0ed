/* A thread, a timer with its DPC, a work item and an event: every kind of callback once. */
#include <ntddk.h>

static KEVENT Finished;
static KTIMER Timer;
static KDPC Dpc;
static PIO_WORKITEM WorkItem;
static PVOID Thread;
static volatile LONG Ticks;

static VOID Work(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    DbgPrint("work item at IRQL %d, context %p\n", KeGetCurrentIrql(), Context);
    KeSetEvent(&Finished, IO_NO_INCREMENT, FALSE);
}

static VOID TimerDpc(PKDPC Object, PVOID Context, PVOID One, PVOID Two)
{
    UNREFERENCED_PARAMETER(Object);
    UNREFERENCED_PARAMETER(One);
    UNREFERENCED_PARAMETER(Two);
    DbgPrint("tick %d at IRQL %d\n", InterlockedIncrement(&Ticks), KeGetCurrentIrql());
    if (Ticks == 3) {
        KeCancelTimer(&Timer);
        IoQueueWorkItem(WorkItem, Work, DelayedWorkQueue, Context);
    }
}

static VOID Worker(PVOID Context)
{
    LARGE_INTEGER Due;
    NTSTATUS Status;

    Due.QuadPart = -10000;
    KeSetTimerEx(&Timer, Due, 10, &Dpc);
    Status = KeWaitForSingleObject(&Finished, Executive, KernelMode, FALSE, NULL);
    DbgPrint("thread %p: %x after %d ticks\n", Context, Status, Ticks);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

static VOID TimerUnload(PDRIVER_OBJECT DriverObject)
{
    KeWaitForSingleObject(Thread, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(Thread);
    IoFreeWorkItem(WorkItem);
    IoDeleteDevice(DriverObject->DeviceObject);
    DbgPrint("unloaded\n");
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    PDEVICE_OBJECT Device;
    HANDLE Handle;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);
    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &Device);
    if (!NT_SUCCESS(Status))
        return Status;
    WorkItem = IoAllocateWorkItem(Device);
    KeInitializeEvent(&Finished, NotificationEvent, FALSE);
    KeInitializeTimer(&Timer);
    KeInitializeDpc(&Dpc, TimerDpc, (PVOID)0x1234);
    Status = PsCreateSystemThread(&Handle, THREAD_ALL_ACCESS, NULL, NULL, NULL, Worker, (PVOID)7);
    if (NT_SUCCESS(Status)) {
        ObReferenceObjectByHandle(Handle, THREAD_ALL_ACCESS, *PsThreadType, KernelMode, &Thread,
                                  NULL);
        ZwClose(Handle);
        DriverObject->DriverUnload = TimerUnload;
    }
    return Status;
}
