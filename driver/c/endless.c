/* A loop without an end, below DISPATCH_LEVEL, that says so from time to time: nothing is wrong. */
#include <ntddk.h>

static volatile ULONG64 Turns;

__declspec(noinline) static VOID Turn(VOID)
{
    for (;;)
        if (!(++Turns & 0xfffff))
            DbgPrint("still\n");
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    DbgPrint("started\n");
    Turn();
    return STATUS_SUCCESS;
}
