/* Rewrites code through a second mapping: a function of its own, then an export of the kernel, whose
 * first bytes go to a trampoline. */
#include <ntddk.h>

typedef ULONG (*ROUTINE)(ULONG Argument);
typedef VOID (*COPY)(PVOID To, const VOID *From, SIZE_T Size);
typedef LARGE_INTEGER (*FREQUENCY)(PVOID Argument);

static COPY Copy;
static FREQUENCY Original;
static ULONG Calls;

__attribute__((noinline)) static ULONG Victim(ULONG Argument)
{
    __asm__ volatile("nop; nop; nop; nop; nop; nop; nop; nop");
    return Argument + 1;
}

static ROUTINE volatile Called = Victim;

/* Write over code by a routine of the kernel, not by instructions of our own. */
static BOOLEAN Rewrite(PVOID Code, const VOID *Bytes, ULONG Size)
{
    PMDL Mdl = IoAllocateMdl(Code, Size, FALSE, FALSE, NULL);
    PVOID Alias;

    if (Mdl == NULL)
        return FALSE;
    MmBuildMdlForNonPagedPool(Mdl);
    Mdl->MdlFlags &= ~MDL_SOURCE_IS_NONPAGED_POOL;
    Mdl->MdlFlags |= MDL_PAGES_LOCKED;
    Alias = MmMapLockedPagesSpecifyCache(Mdl, KernelMode, MmCached, NULL, FALSE, NormalPagePriority);
    if (Alias == NULL)
        return FALSE;
    Copy(Alias, Bytes, Size);
    MmUnmapLockedPages(Alias, Mdl);
    IoFreeMdl(Mdl);
    return TRUE;
}

static VOID Jump(UCHAR *Place, PVOID Target)
{
    Place[0] = 0xff, Place[1] = 0x25;
    RtlZeroMemory(Place + 2, 4);
    *(PVOID *)(Place + 6) = Target;
}

static LARGE_INTEGER Hook(PVOID Argument)
{
    Calls++;
    return Original(Argument);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    static const UCHAR Returns7[] = {0xb8, 7, 0, 0, 0, 0xc3}, Returns8[] = {0xb8, 8, 0, 0, 0, 0xc3};
    UNICODE_STRING CopyName = RTL_CONSTANT_STRING(L"memmove");
    UNICODE_STRING Name = RTL_CONSTANT_STRING(L"KeQueryPerformanceCounter");
    UCHAR *Body, *Trampoline, Patch[14];
    LARGE_INTEGER Before, After;

    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    Copy = (COPY)MmGetSystemRoutineAddress(&CopyName);
    DbgPrint("before: %u\n", Called(1));
    DbgPrint("rewritten: %d, %u\n", Rewrite((PVOID)Victim, Returns7, sizeof(Returns7)), Called(1));
    DbgPrint("again: %d, %u\n", Rewrite((PVOID)Victim, Returns8, sizeof(Returns8)), Called(1));

    Body = MmGetSystemRoutineAddress(&Name);
    DbgPrint("body: %s\n", (PVOID)Body == (PVOID)KeQueryPerformanceCounter ? "the import's" : "?");
    Before = KeQueryPerformanceCounter(NULL);
    Trampoline = ExAllocatePoolWithTag(NonPagedPool, 64, 'kooH');
    RtlCopyMemory(Trampoline, Body, 15);
    Jump(Trampoline + 15, Body + 15);
    Original = (FREQUENCY)Trampoline;
    Jump(Patch, (PVOID)Hook);
    Rewrite(Body, Patch, sizeof(Patch));
    After = KeQueryPerformanceCounter(NULL);
    KeQueryPerformanceCounter(NULL);
    DbgPrint("hooked: %u calls, time %s\n", Calls, After.QuadPart >= Before.QuadPart ? "goes on" : "?");
    return STATUS_SUCCESS;
}
