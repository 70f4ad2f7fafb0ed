/* Finds the entry of a page from CR3 down, as tools that read physical memory do, checks it against
 * MmPteBase in the code of MmGetVirtualForPhysical, and lets a page of its own show another frame. */
#include <ntddk.h>

#define FRAME 0x000FFFFFFFFFF000ULL

static PVOID Virtual(ULONG64 Physical)
{
    PHYSICAL_ADDRESS Address;

    Address.QuadPart = Physical;
    return MmGetVirtualForPhysical(Address);
}

static volatile ULONG64 *FindEntry(PVOID Page)
{
    ULONG64 Table = __readcr3() & FRAME;
    volatile ULONG64 *Entry = NULL;

    for (int Shift = 39; Shift >= 12; Shift -= 9) {
        ULONG64 *Entries = Virtual(Table);
        if (!Entries)
            return NULL;
        Entry = Entries + (((ULONG64)Page >> Shift) & 0x1FF);
        if (!(*Entry & 1))
            return NULL;
        Table = *Entry & FRAME;
    }
    return Entry;
}

static VOID Unload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNICODE_STRING Name = RTL_CONSTANT_STRING(L"MmGetVirtualForPhysical");
    PUCHAR Code = MmGetSystemRoutineAddress(&Name);
    PCHAR One = ExAllocatePoolWithTag(NonPagedPoolNx, PAGE_SIZE, 'tseT');
    PCHAR Other = ExAllocatePoolWithTag(NonPagedPoolNx, PAGE_SIZE, 'tseT');
    ULONG64 Base = *(ULONG64 *)(Code + 0x22);
    volatile ULONG64 *Entry;
    ULONG64 Kept;

    UNREFERENCED_PARAMETER(RegistryPath);
    DriverObject->DriverUnload = Unload;
    RtlCopyMemory(One, "one", 4);
    RtlCopyMemory(Other, "other", 6);
    Entry = FindEntry(One);
    if (!Entry)
        return STATUS_NOT_FOUND;
    DbgPrint("in the self-map: %d\n",
             (ULONG64)Entry == Base + (((ULONG64)One & 0xFFFFFFFFFFFFULL) >> 12) * 8);
    DbgPrint("the frame: %d\n", (*Entry & FRAME) == (ULONG64)MmGetPhysicalAddress(One).QuadPart);
    Kept = *Entry;
    *Entry = *FindEntry(Other);
    __asm__ __volatile__("invlpg (%0)" : : "r"(One) : "memory");
    DbgPrint("%s\n", One);
    *Entry = Kept;
    __asm__ __volatile__("invlpg (%0)" : : "r"(One) : "memory");
    DbgPrint("%s\n", One);
    ExFreePoolWithTag(One, 'tseT');
    ExFreePoolWithTag(Other, 'tseT');
    return STATUS_SUCCESS;
}
