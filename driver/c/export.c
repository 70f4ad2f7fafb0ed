/* An export driver: no DriverEntry of it runs, but DllInitialize when the first driver that imports
 * from it is loaded, and DllUnload when the last of them is gone. */
#include <ntddk.h>

__declspec(dllexport) NTSTATUS DllInitialize(PUNICODE_STRING RegistryPath)
{
    DbgPrint("DllInitialize: %wZ\n", RegistryPath);
    return STATUS_SUCCESS;
}

__declspec(dllexport) NTSTATUS DllUnload(VOID)
{
    DbgPrint("DllUnload\n");
    return STATUS_SUCCESS;
}

__declspec(dllexport) ULONG LibPrint(PCSTR Format)
{
    DbgPrint("LibPrint\n");
    return DbgPrint(Format);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    DbgPrint("not called\n");
    return STATUS_SUCCESS;
}
