/* A filter that faults is asked about its own fault, and so on until the stack is used up. */
#include <ntddk.h>

static volatile ULONG *Nowhere = (volatile ULONG *)0x10;
static volatile ULONG Times;

static LONG Faulting(VOID)
{
    Times++;
    *Nowhere = 2;
    return EXCEPTION_EXECUTE_HANDLER;
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    __try {
        *Nowhere = 1;
    } __except (Faulting()) {
        DbgPrint("not reached\n");
    }
    return STATUS_SUCCESS;
}
