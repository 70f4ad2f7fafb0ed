/* Two threads count to 20000 each, first without a lock and then with one. */
#include <ntddk.h>

#define ROUNDS 20000

static KSPIN_LOCK Lock;
static volatile ULONG64 Unlocked, Locked;

static VOID Count(PVOID Context)
{
    KIRQL Old;

    UNREFERENCED_PARAMETER(Context);
    for (ULONG i = 0; i < ROUNDS; i++) {
        ULONG64 Value = Unlocked;
        __asm__ volatile("inc %0" : "+r"(Value)); /* else the compiler adds to memory at once */
        Unlocked = Value;
    }
    for (ULONG i = 0; i < ROUNDS / 100; i++) {
        KeAcquireSpinLock(&Lock, &Old);
        for (ULONG j = 0; j < 100; j++)
            Locked = Locked + 1;
        KeReleaseSpinLock(&Lock, Old);
    }
    PsTerminateSystemThread(STATUS_SUCCESS);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    PVOID Threads[2];
    HANDLE Handle;

    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    KeInitializeSpinLock(&Lock);
    for (ULONG i = 0; i < 2; i++) {
        PsCreateSystemThread(&Handle, THREAD_ALL_ACCESS, NULL, NULL, NULL, Count, NULL);
        ObReferenceObjectByHandle(Handle, THREAD_ALL_ACCESS, *PsThreadType, KernelMode,
                                  &Threads[i], NULL);
        ZwClose(Handle);
    }
    KeWaitForMultipleObjects(2, Threads, WaitAll, Executive, KernelMode, FALSE, NULL, NULL);
    ObDereferenceObject(Threads[0]);
    ObDereferenceObject(Threads[1]);
    DbgPrint("without lock %s, with lock %I64u\n", Unlocked < 2 * ROUNDS ? "lost" : "whole", Locked);
    return STATUS_SUCCESS;
}
