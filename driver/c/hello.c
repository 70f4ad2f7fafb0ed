/* The smallest driver: prints in DriverEntry and when it is unloaded. */
#include <ntddk.h>

static VOID HelloUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);
    DbgPrint("bye\n");
}

__attribute__((section("INIT")))
NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    DbgPrint("hello from %wZ\n", RegistryPath);
    DbgPrint("%d %u %x %I64x %s %c %p\n", -1, 2, 3, 0x123456789abcULL, "text", 'c', (PVOID)16);
    DriverObject->DriverUnload = HelloUnload;
    return STATUS_SUCCESS;
}
