/* Structures by value, and numbers that DbgPrint formats.

   A structure of 1, 2, 4 or 8 bytes is passed in a register, and returned in RAX; of any other size
   by the address of a copy. A floating-point argument of a variadic routine is also in its general
   register. Source: Microsoft, x64 calling convention, "Parameter passing", "Varargs". */
#include <ntifs.h>

static UNICODE_STRING Path = RTL_CONSTANT_STRING(L"\\Device\\Null\\rest");
static ANSI_STRING Narrow = RTL_CONSTANT_STRING("one\\two\\three");
static volatile double Half = 0.5, Third = 1.0 / 3;

static VOID Names(VOID)
{
    UNICODE_STRING First, Rest, Whole = Path;
    ANSI_STRING NarrowFirst, NarrowRest;

    while (Whole.Length) {
        FsRtlDissectName(Whole, &First, &Rest);
        DbgPrint("%wZ | %wZ | %wZ\n", &Whole, &First, &Rest);
        Whole = Rest;
    }
    FsRtlDissectDbcs(Narrow, &NarrowFirst, &NarrowRest);
    DbgPrint("%Z | %Z | %Z\n", &Narrow, &NarrowFirst, &NarrowRest);
}

static VOID SmallOnes(PDEVICE_OBJECT Device)
{
    POWER_STATE State, Before;
    LARGE_INTEGER Counter, Frequency, Sum, Increment;
    LUID Debug = { 20, 0 }, None = { 20, 1 };
    KSPIN_LOCK Lock;

    State.DeviceState = PowerDeviceD3;
    Before = PoSetPowerState(Device, DevicePowerState, State);
    State.DeviceState = PowerDeviceD0;
    State = PoSetPowerState(Device, DevicePowerState, State);
    DbgPrint("power: %d, then %d\n", Before.DeviceState, State.DeviceState);
    DbgPrint("privileges: %d %d\n", SeSinglePrivilegeCheck(Debug, UserMode),
             SeSinglePrivilegeCheck(None, UserMode));
    Counter = KeQueryPerformanceCounter(&Frequency);
    DbgPrint("counter: %d\n", Counter.QuadPart > 0 && Frequency.QuadPart == 10000000);
    KeInitializeSpinLock(&Lock);
    Sum.QuadPart = 0x7fffffff00000001;
    Increment.QuadPart = -2;
    Counter = ExInterlockedAddLargeInteger(&Sum, Increment, &Lock);
    DbgPrint("sum: %I64x, was %I64x\n", Sum.QuadPart, Counter.QuadPart);
    Counter.QuadPart = 0x1234567890;
    DbgPrint("no such callback: %x\n", CmUnRegisterCallback(Counter));
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    PDEVICE_OBJECT Device;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);
    Status = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &Device);
    if (!NT_SUCCESS(Status))
        return Status;
    Names();
    SmallOnes(Device);
    IoDeleteDevice(Device);
    DbgPrint("[%f] [%I64x]\n", Half);
    DbgPrint("[%-8.3e] [%G] [%x] [%I64x]\n", Third, Half);
    DbgPrint("%d %d %d %d %s %I64x\n", 1, 2, 3, 4, "six", *(ULONG64 *)&Half);
    return STATUS_SUCCESS;
}
