/* What Microsoft's compiler makes of /guard:cf: indirect calls through two pointers that the loader
 * replaces. The last one here has a user address for its target. */
#include <ntddk.h>

VOID CheckNothing(VOID);
VOID DispatchUnchecked(VOID);
__asm__(".text\n"
        "CheckNothing:\n"
        "  retq\n"
        "DispatchUnchecked:\n"
        "  jmpq *%rax\n");

__attribute__((section(".rdata"))) VOID (*const volatile GuardCheck)(VOID) = CheckNothing;
__attribute__((section(".rdata"))) VOID (*const volatile GuardDispatch)(VOID) = DispatchUnchecked;

__attribute__((used)) const struct {
    ULONG Size;
    UCHAR Unused[0x6c];
    const volatile VOID *CheckPointer, *DispatchPointer;
    ULONG64 Table, Count;
    ULONG Flags;
    UCHAR Rest[0x0c];
} _load_config_used = { 0xa0, { 0 }, (PVOID)&GuardCheck, (PVOID)&GuardDispatch, 0, 0, 0x100, { 0 } };

static ULONG Target(ULONG Argument)
{
    return Argument + 1;
}

static ULONG Dispatch(PVOID Routine, ULONG Argument)
{
    ULONG64 Result = (ULONG64)Routine;

    __asm__ volatile("subq $0x20, %%rsp; callq *%2; addq $0x20, %%rsp"
                     : "+a"(Result), "+c"(Argument) : "r"(GuardDispatch)
                     : "rdx", "r8", "r9", "r10", "r11", "memory", "cc");
    return (ULONG)Result;
}

static VOID Check(PVOID Routine)
{
    __asm__ volatile("callq *%1" : "+c"(Routine) : "r"(GuardCheck) : "memory", "cc");
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    DbgPrint("check %s, dispatch %s\n", GuardCheck == CheckNothing ? "kept" : "replaced",
             GuardDispatch == DispatchUnchecked ? "kept" : "replaced");
    Check((PVOID)Target);
    DbgPrint("called: %u\n", Dispatch((PVOID)Target, 41));
    Dispatch((PVOID)0x7ff612340000ULL, 0);
    DbgPrint("not reached\n");
    return STATUS_SUCCESS;
}
