/* Locks its pageable section, and makes itself pageable as a whole. Loaded as a service whose name
   ends in "whole" it goes to DISPATCH_LEVEL while it is, else with its section unlocked: under
   Driver Verifier's forced IRQL checking both are page faults. */
#include <ntddk.h>


__attribute__((section("PAGEDATA"))) volatile ULONG Pageable = 7;
static volatile ULONG Resident = 70;
static KSPIN_LOCK Lock;

__declspec(noinline) static ULONG AtDispatch(volatile ULONG *Where)
{
    ULONG Value;
    KIRQL Old;

    KeAcquireSpinLock(&Lock, &Old); /* MOV CR8 would not be seen by the verifier */
    Value = ++*Where;
    KeReleaseSpinLock(&Lock, Old);
    return Value;
}

static VOID Unload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    BOOLEAN Whole = RegistryPath->Buffer[RegistryPath->Length / 2 - 1] == 'e';
    PVOID Handle = MmLockPagableDataSection((PVOID)&Pageable);

    DriverObject->DriverUnload = Unload;
    DbgPrint("section %.8s\n", Handle);
    DbgPrint("locked: %u\n", AtDispatch(&Pageable));
    MmLockPagableSectionByHandle(Handle);
    MmUnlockPagableImageSection(Handle);
    DbgPrint("locked still: %u\n", AtDispatch(&Pageable));
    DbgPrint("base: %d\n", MmPageEntireDriver(DriverEntry) == DriverObject->DriverStart);
    if (!Whole) {
        MmResetDriverPaging(DriverEntry);
        DbgPrint("reset: %u\n", AtDispatch(&Resident));
        MmUnlockPagableImageSection(Handle);
        DbgPrint("unlocked: %u\n", AtDispatch(&Pageable));
        return STATUS_SUCCESS;
    }
    MmUnlockPagableImageSection(Handle);
    DbgPrint("whole: %u\n", AtDispatch(&Resident));
    MmUnlockPagableImageSection(Handle);
    return STATUS_SUCCESS;
}
