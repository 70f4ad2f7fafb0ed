/* Runs off its kernel stack: each frame takes more than it writes, so that the stack pointer stands in
   the guard page when the processor faults. */
#include <ntddk.h>

static volatile ULONG Depth;

__attribute__((noinline)) static ULONG Descend(ULONG Level)
{
    volatile ULONG Frame[0x180];
    Frame[0] = Level;
    Depth = Level;
    return Descend(Level + 1) + Frame[0];
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    return Descend(0) ? STATUS_SUCCESS : STATUS_UNSUCCESSFUL;
}
