/* Finds the kernel by its own entry in the list of loaded modules, walks its export directory by
 * hand, and its service table from LSTAR, as tools and hooks do. */
#include <ntddk.h>

typedef struct {
    LIST_ENTRY Links;
    PVOID Exceptions[4];
    PUCHAR DllBase;
    PVOID EntryPoint;
    ULONG SizeOfImage;
    UNICODE_STRING FullDllName, BaseDllName;
} Module;

typedef struct {
    ULONG Characteristics, TimeDateStamp, Version, Name, Base, Functions, Names;
    ULONG FunctionTable, NameTable, OrdinalTable;
} Directory;

static PUCHAR FindModule(PDRIVER_OBJECT DriverObject, PCWSTR Name)
{
    Module *Own = DriverObject->DriverSection;
    UNICODE_STRING Wanted;

    RtlInitUnicodeString(&Wanted, Name);
    for (PLIST_ENTRY Entry = Own->Links.Flink; Entry != &Own->Links; Entry = Entry->Flink) {
        Module *Each = CONTAINING_RECORD(Entry, Module, Links);
        if (Each->BaseDllName.Buffer && RtlEqualUnicodeString(&Each->BaseDllName, &Wanted, TRUE))
            return Each->DllBase;
    }
    return NULL;
}

static int Compare(const char *One, const char *Other)
{
    while (*One && *One == *Other)
        One++, Other++;
    return (UCHAR)*One - (UCHAR)*Other;
}

/* By halving, as the loader does: the names are in order. */
static PVOID FindExport(PUCHAR Image, const char *Name)
{
    PUCHAR Header = Image + *(ULONG *)(Image + 0x3C);
    Directory *Exports = (Directory *)(Image + *(ULONG *)(Header + 0x88));
    ULONG *Names = (ULONG *)(Image + Exports->NameTable);
    USHORT *Ordinals = (USHORT *)(Image + Exports->OrdinalTable);
    ULONG *Functions = (ULONG *)(Image + Exports->FunctionTable);
    LONG Low = 0, High = (LONG)Exports->Names - 1;

    while (Low <= High) {
        LONG Middle = (Low + High) / 2;
        int Side = Compare(Name, (const char *)Image + Names[Middle]);
        if (!Side)
            return Image + Functions[Ordinals[Middle]];
        if (Side < 0)
            High = Middle - 1;
        else
            Low = Middle + 1;
    }
    return NULL;
}

static PLONG FindServiceTable(void)
{
    static const UCHAR Pattern[] = {
        0x8B, 0xF8, 0xC1, 0xEF, 0x07, 0x83, 0xE7, 0x20, 0x25, 0xFF, 0x0F, 0x00, 0x00
    };
    PUCHAR Code = (PUCHAR)__readmsr(0xC0000082);

    for (ULONG At = 0; At < 0x200; At++)
        if (RtlCompareMemory(Code + At, Pattern, sizeof Pattern) == sizeof Pattern) {
            PUCHAR Lea = Code + At + sizeof Pattern;
            return *(PLONG *)(Lea + 7 + *(LONG *)(Lea + 3));
        }
    return NULL;
}

static VOID Unload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNICODE_STRING Name = RTL_CONSTANT_STRING(L"ZwCreateFile");
    PUCHAR Nt = FindModule(DriverObject, L"ntoskrnl.exe");
    PUCHAR Hal = FindModule(DriverObject, L"hal.dll");
    LONG (*Set)(PVOID, LONG, BOOLEAN);
    PUCHAR Create;
    PLONG Services;
    KEVENT Event;

    UNREFERENCED_PARAMETER(RegistryPath);
    DriverObject->DriverUnload = Unload;
    if (!Nt || !Hal)
        return STATUS_NOT_FOUND;
    Create = FindExport(Nt, "ZwCreateFile");
    DbgPrint("walked to the same address: %d\n", Create == MmGetSystemRoutineAddress(&Name));
    DbgPrint("forwarded to %s\n", FindExport(Hal, "KeStallExecutionProcessor"));
    KeInitializeEvent(&Event, NotificationEvent, FALSE);
    Set = FindExport(Nt, "KeSetEvent");
    Set(&Event, 0, FALSE);
    DbgPrint("called: %d\n", KeReadStateEvent(&Event));
    Services = FindServiceTable();
    DbgPrint("service %x is NtCreateFile: %d\n", *(ULONG *)(Create + 0x15),
             (PUCHAR)Services + (Services[*(ULONG *)(Create + 0x15)] >> 4)
                 == FindExport(Nt, "NtCreateFile"));
    return FindExport(Nt, "NoSuchRoutine") ? STATUS_UNSUCCESSFUL : STATUS_SUCCESS;
}
