/* A filter that goes on at the instruction that faults, which it has done nothing about. */
#include <ntddk.h>

static volatile ULONG *Nowhere = (volatile ULONG *)0x10;

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    __try {
        *Nowhere = 1;
    } __except (EXCEPTION_CONTINUE_EXECUTION) {
        DbgPrint("not reached\n");
    }
    return STATUS_SUCCESS;
}
