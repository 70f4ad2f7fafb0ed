/* What only Driver Verifier sees; the numbers are those of verified_ioctl.py. */
#include <ntddk.h>

static UNICODE_STRING DeviceName = RTL_CONSTANT_STRING(L"\\Device\\Verified");
static UNICODE_STRING LinkName = RTL_CONSTANT_STRING(L"\\DosDevices\\Verified");
static KSPIN_LOCK Lock;
__attribute__((section("PAGEDATA"))) volatile ULONG PageableCounter = 7;

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

/* Pageable code that raises the IRQL: the next instruction is not there any more. */
__attribute__((section("PAGE"), noinline)) static VOID RaiseInPageableCode(KIRQL *Old)
{
    KeAcquireSpinLock(&Lock, Old);
    PageableCounter += 1;
}

/* Pageable code that behaves. */
__attribute__((section("PAGE"), noinline)) static VOID CountInPageableCode(VOID)
{
    PageableCounter += 1;
}

static VOID Mistake(ULONG Number)
{
    volatile UCHAR *Pool = ExAllocatePoolWithTag(Number == 3 ? PagedPool : NonPagedPoolNx, 48, 'tseT');
    KIRQL Old;

    switch (Number) {
    case 0: Pool[48] = 1; break;
    case 1: (VOID)Pool[48]; break;
    case 2:
        ExFreePoolWithTag((PVOID)Pool, 'tseT');
        Pool[8] = 1;
        break;
    case 3:
        Pool[0] = 1;
        KeAcquireSpinLock(&Lock, &Old);
        Pool[0] = 2;
        KeReleaseSpinLock(&Lock, Old);
        break;
    case 4:
        RaiseInPageableCode(&Old);
        KeReleaseSpinLock(&Lock, Old);
        break;
    case 5:
        KeAcquireSpinLock(&Lock, &Old);
        PageableCounter += 1;
        KeReleaseSpinLock(&Lock, Old);
        break;
    case 6:
        CountInPageableCode();
        KeAcquireSpinLock(&Lock, &Old);
        KeReleaseSpinLock(&Lock, Old);
        CountInPageableCode();
        DbgPrint("%u\n", PageableCounter);
        break;
    }
    ExFreePoolWithTag((PVOID)Pool, 'tseT');
}

static NTSTATUS Control(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    PIO_STACK_LOCATION Stack = IoGetCurrentIrpStackLocation(Irp);
    ULONG Code = Stack->Parameters.DeviceIoControl.IoControlCode;

    UNREFERENCED_PARAMETER(DeviceObject);
    Mistake((Code >> 2 & 0xfff) - 0x800);
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
    KeInitializeSpinLock(&Lock);
    IoCreateSymbolicLink(&LinkName, &DeviceName);
    DriverObject->MajorFunction[IRP_MJ_CREATE] = CreateClose;
    DriverObject->MajorFunction[IRP_MJ_CLOSE] = CreateClose;
    DriverObject->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control;
    return STATUS_SUCCESS;
}
