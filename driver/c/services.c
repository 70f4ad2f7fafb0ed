/* Hooks two system services of the kernel: NtCreateFile by a jump at the head of its body,
 * NtDelayExecution by its entry in KiServiceTable. Unloading takes both back. */
#include <ntddk.h>

typedef NTSTATUS (*SERVICE)(ULONG_PTR, ULONG_PTR, ULONG_PTR, ULONG_PTR, ULONG_PTR, ULONG_PTR, ULONG_PTR,
                            ULONG_PTR, ULONG_PTR, ULONG_PTR, ULONG_PTR);
typedef NTSTATUS (*DELAY)(BOOLEAN Alertable, PLARGE_INTEGER Interval);

enum { NT_DELAY_EXECUTION = 0x34, COPIED = 15, JUMP = 14 };

static PUCHAR Body, Trampoline;
static LONG *Table, Entry;
static DELAY Delay;
static UCHAR Saved[JUMP];
static ULONG Opened[2], Delays;

static BOOLEAN Rewrite(PVOID Place, const VOID *Bytes, ULONG Size)
{
    PMDL Mdl = IoAllocateMdl(Place, Size, FALSE, FALSE, NULL);
    PVOID Alias;

    if (Mdl == NULL)
        return FALSE;
    MmBuildMdlForNonPagedPool(Mdl);
    Mdl->MdlFlags &= ~MDL_SOURCE_IS_NONPAGED_POOL;
    Mdl->MdlFlags |= MDL_PAGES_LOCKED;
    Alias = MmMapLockedPagesSpecifyCache(Mdl, KernelMode, MmCached, NULL, FALSE, NormalPagePriority);
    if (Alias == NULL)
        return FALSE;
    RtlCopyMemory(Alias, Bytes, Size);
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

static NTSTATUS CreateHook(ULONG_PTR File, ULONG_PTR Access, ULONG_PTR Attributes, ULONG_PTR Status,
                           ULONG_PTR Size, ULONG_PTR FileAttributes, ULONG_PTR Share,
                           ULONG_PTR Disposition, ULONG_PTR Options, ULONG_PTR Buffer, ULONG_PTR Length)
{
    Opened[ExGetPreviousMode()]++;
    return ((SERVICE)Trampoline)(File, Access, Attributes, Status, Size, FileAttributes, Share,
                                 Disposition, Options, Buffer, Length);
}

static NTSTATUS DelayHook(BOOLEAN Alertable, PLARGE_INTEGER Interval)
{
    if (++Delays == 2)
        return STATUS_ACCESS_DENIED;
    return Delay(Alertable, Interval);
}

static BOOLEAN FindTable(VOID)
{
    PUCHAR Code = (PUCHAR)__readmsr(0xC0000082);

    for (ULONG i = 0; i < 0x200; i++)
        if (Code[i] == 0x4c && Code[i + 1] == 0x8d && Code[i + 2] == 0x15) {
            Table = *(LONG **)(Code + i + 7 + *(LONG *)(Code + i + 3));
            return TRUE;
        }
    return FALSE;
}

static VOID Unload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);
    Rewrite(Body, Saved, JUMP);
    Rewrite(Table + NT_DELAY_EXECUTION, &Entry, sizeof(Entry));
    ExFreePoolWithTag(Trampoline, 'vrSS');
    DbgPrint("kernel %u, user %u, delays %u\n", Opened[KernelMode], Opened[UserMode], Delays);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNICODE_STRING Name = RTL_CONSTANT_STRING(L"NtCreateFile");
    UNICODE_STRING Nowhere = RTL_CONSTANT_STRING(L"\\Device\\Nowhere");
    OBJECT_ATTRIBUTES Attributes;
    IO_STATUS_BLOCK Block;
    LONGLONG Distance;
    HANDLE File;
    UCHAR Patch[JUMP];
    LONG Hooked;

    UNREFERENCED_PARAMETER(RegistryPath);
    Body = MmGetSystemRoutineAddress(&Name);
    Trampoline = ExAllocatePoolWithTag(NonPagedPool, 64, 'vrSS');
    if (Trampoline == NULL || !FindTable())
        return STATUS_UNSUCCESSFUL;
    RtlCopyMemory(Saved, Body, JUMP);
    RtlCopyMemory(Trampoline, Body, COPIED);
    Jump(Trampoline + COPIED, Body + COPIED);
    Jump(Patch, (PVOID)CreateHook);
    Rewrite(Body, Patch, JUMP);

    Entry = Table[NT_DELAY_EXECUTION];
    Delay = (DELAY)((PUCHAR)Table + (Entry >> 4));
    Distance = (PUCHAR)DelayHook - (PUCHAR)Table;
    Hooked = (LONG)(Distance << 4);
    if (Hooked >> 4 != Distance)
        return STATUS_NOT_SUPPORTED;
    Rewrite(Table + NT_DELAY_EXECUTION, &Hooked, sizeof(Hooked));

    InitializeObjectAttributes(&Attributes, &Nowhere, OBJ_KERNEL_HANDLE, NULL, NULL);
    DbgPrint("from the kernel: %08x\n", ZwCreateFile(&File, GENERIC_READ, &Attributes, &Block, NULL, 0, 0,
                                                     FILE_OPEN, 0, NULL, 0));
    DriverObject->DriverUnload = Unload;
    return STATUS_SUCCESS;
}
