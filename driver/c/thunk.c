/* Code in pool that is written, called, written again by a routine of the kernel, and called again. */
#include <ntddk.h>

typedef ULONG (*ROUTINE)(VOID);
typedef VOID (*COPY)(PVOID To, const VOID *From, SIZE_T Size);

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    static const UCHAR Returns[] = {0xb8, 0, 0, 0, 0, 0xc3}; /* mov eax, 0; ret */
    UNICODE_STRING CopyName = RTL_CONSTANT_STRING(L"memmove");
    COPY Copy = (COPY)MmGetSystemRoutineAddress(&CopyName);
    UCHAR Code[sizeof(Returns)];
    UCHAR *Pool;
    ULONG i, Sum = 0;

    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    for (i = 0; i < sizeof(Returns); i++)
        Code[i] = Returns[i];
    Pool = ExAllocatePoolWithTag(NonPagedPool, PAGE_SIZE, 'nuhT');
    for (i = 1; i <= 9; i++) {
        *(ULONG *)(Code + 1) = i;
        Copy(Pool, Code, sizeof(Code));
        Sum = Sum * 10 + ((ROUTINE)Pool)();
    }
    DbgPrint("called: %u\n", Sum);
    ExFreePoolWithTag(Pool, 'nuhT');
    return STATUS_SUCCESS;
}
