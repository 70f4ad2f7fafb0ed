/* An export driver, by name and by number, and data of the kernel's that is not modelled. */
#include <ntddk.h>

__declspec(dllexport) ULONG LibraryAdd(ULONG One, ULONG Two)
{
    return One + Two;
}

__declspec(dllexport) ULONG LibraryCount = 40;

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    DbgPrint("library\n");
    return STATUS_SUCCESS;
}
