/* One control code for each common mistake; the numbers are those of mistakes_ioctl.py. */
#include <ntddk.h>

static UNICODE_STRING DeviceName = RTL_CONSTANT_STRING(L"\\Device\\Mistakes");
static UNICODE_STRING LinkName = RTL_CONSTANT_STRING(L"\\DosDevices\\Mistakes");
static volatile ULONG Zero;
static volatile UCHAR Data[16] = { 0xc3 };

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

__attribute__((noinline)) static ULONG Deeper(volatile ULONG *Above)
{
    volatile ULONG Here[64];

    Here[0] = *Above + 1;
    return Deeper(Here) + Here[0];
}

static VOID TouchAtDispatch(volatile ULONG *Paged)
{
    KIRQL Old;

    KeRaiseIrql(DISPATCH_LEVEL, &Old);
    *Paged = 1;
    KeLowerIrql(Old);
}

static VOID CorruptList(VOID)
{
    LIST_ENTRY Head, One;

    InitializeListHead(&Head);
    InsertTailList(&Head, &One);
    Head.Blink = &Head;
    RemoveHeadList(&Head);
    if (One.Flink->Blink != &One || One.Blink->Flink != &One)
        __asm__ volatile("int $0x29" : : "c"(3));
}

static VOID Mistake(ULONG Number, PIRP Irp)
{
    KIRQL Old;
    PVOID Pool;
    volatile ULONG Top = 0;

    switch (Number) {
    case 0: KeRaiseIrql(DISPATCH_LEVEL, &Old); break;
    case 1: TouchAtDispatch((volatile ULONG *)0xffffa00000001000ULL); break;
    case 2: *(volatile ULONG *)0xffffa00000001000ULL = 1; break;
    case 3:
        Pool = ExAllocatePoolWithTag(NonPagedPool, 64, 'tseT');
        ExFreePoolWithTag(Pool, 'tseT');
        ExFreePoolWithTag(Pool, 'tseT');
        break;
    case 4: Complete(Irp, STATUS_SUCCESS); break;
    case 5: *(volatile ULONG *)8 = 1; break;
    case 6: CorruptList(); break;
    case 7: *(volatile UCHAR *)&Complete = 0xc3; break;
    case 8: ((VOID (*)(VOID))(ULONG_PTR)Data)(); break;
    case 9: Deeper(&Top); break;
    case 10: Zero = 10 / Zero; break;
    case 11: __asm__ volatile("int $0x2c"); break;
    case 12: __asm__ volatile("wrmsr" : : "c"(0x480), "a"(0), "d"(0)); break;
    case 13: KeEnterCriticalRegion(); break;
    case 14:
        KeRaiseIrql(DISPATCH_LEVEL, &Old);
        while (!Zero)
            ;
    }
}

static NTSTATUS Control(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    PIO_STACK_LOCATION Stack = IoGetCurrentIrpStackLocation(Irp);
    ULONG Code = Stack->Parameters.DeviceIoControl.IoControlCode;

    UNREFERENCED_PARAMETER(DeviceObject);
    Mistake((Code >> 2 & 0xfff) - 0x800, Irp);
    return Complete(Irp, STATUS_SUCCESS);
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
    DriverObject->MajorFunction[IRP_MJ_CREATE] = CreateClose;
    DriverObject->MajorFunction[IRP_MJ_CLOSE] = CreateClose;
    DriverObject->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control;
    return STATUS_SUCCESS;
}
