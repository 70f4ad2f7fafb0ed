/* Gates of the interrupt descriptor table, replaced: breakpoints, faults, a vector of one's own, the
 * clock interrupt; some answered here, some handed on to the kernel. */
#include <ntddk.h>

typedef struct _GATE {
    USHORT Low, Selector;
    UCHAR Ist, Type;
    USHORT Middle;
    ULONG High, Reserved;
} GATE, *PGATE;

#pragma pack(push, 1)
typedef struct _TABLE {
    USHORT Limit;
    PGATE Gates;
} TABLE;
#pragma pack(pop)

ULONG64 Breakpoints, Faults, Divisions, Calls, Ticks, FaultAddress, FaultCode, FlagsInside;
PVOID KernelPageFault, KernelClock;

VOID OnBreakpoint(VOID);
VOID OnDivision(VOID);
VOID OnPageFault(VOID);
VOID OnCall(VOID);
VOID OnClock(VOID);
__asm__(".text\n"
        "OnBreakpoint:\n"
        "  incq Breakpoints(%rip)\n"
        "  pushfq\n"
        "  popq FlagsInside(%rip)\n"
        "  iretq\n"
        "OnDivision:\n" /* DIV ECX has two bytes */
        "  incq Divisions(%rip)\n"
        "  addq $2, (%rsp)\n"
        "  iretq\n"
        "OnPageFault:\n"
        "  incq Faults(%rip)\n"
        "  pushq %rax\n"
        "  movq %cr2, %rax\n"
        "  movq %rax, FaultAddress(%rip)\n"
        "  movq 8(%rsp), %rax\n"
        "  movq %rax, FaultCode(%rip)\n"
        "  popq %rax\n"
        "  jmpq *KernelPageFault(%rip)\n"
        "OnCall:\n"
        "  incq Calls(%rip)\n"
        "  movq $0x1234, %rax\n"
        "  iretq\n"
        "OnClock:\n"
        "  incq Ticks(%rip)\n"
        "  jmpq *KernelClock(%rip)\n");

static PVOID Replace(PGATE Gate, PVOID Routine)
{
    ULONG64 Address = (ULONG64)Routine;
    ULONG64 Old = (ULONG64)Gate->High << 32 | (ULONG)Gate->Middle << 16 | Gate->Low;

    Gate->Low = (USHORT)Address;
    Gate->Middle = (USHORT)(Address >> 16);
    Gate->High = (ULONG)(Address >> 32);
    return (PVOID)Old;
}

static VOID Touch(VOID)
{
    __try {
        *(volatile ULONG *)0x7008 = 1;
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("caught: %x\n", GetExceptionCode());
    }
}

static ULONG64 Call(VOID)
{
    ULONG64 Result = 0;

    __asm__ volatile("int $0x81" : "+a"(Result));
    return Result;
}

static ULONG Divide(ULONG By)
{
    ULONG Low = 77, High = 0;

    __asm__ volatile("divl %%ecx" : "+a"(Low), "+d"(High) : "c"(By));
    return Low;
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    TABLE Old, New;
    LARGE_INTEGER Start, Now;
    PVOID Saved, Division;

    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    KeSetSystemAffinityThread(1);
    __asm__ volatile("sidt %0" : "=m"(Old));

    Saved = Replace(&Old.Gates[3], (PVOID)OnBreakpoint);
    __asm__ volatile("int3; int3");
    Replace(&Old.Gates[3], Saved);
    DbgPrint("breakpoints: %I64u, interrupts %s inside\n", Breakpoints,
             FlagsInside & 0x200 ? "on" : "off");

    Division = Replace(&Old.Gates[0], (PVOID)OnDivision);
    DbgPrint("77 / 0 = %u, 77 / 7 = %u, passed over: %I64u\n", Divide(0), Divide(7), Divisions);
    Replace(&Old.Gates[0], Division);

    KernelPageFault = Replace(&Old.Gates[14], (PVOID)OnPageFault);
    Touch();
    Replace(&Old.Gates[14], KernelPageFault);
    DbgPrint("page faults: %I64u, of %I64x, code %I64x\n", Faults, FaultAddress, FaultCode);
    Touch();
    DbgPrint("page faults: %I64u\n", Faults);

    New.Limit = Old.Limit;
    New.Gates = ExAllocatePoolWithTag(NonPagedPoolNx, PAGE_SIZE, 'etaG');
    RtlCopyMemory(New.Gates, Old.Gates, PAGE_SIZE);
    New.Gates[0x81] = New.Gates[3];
    Replace(&New.Gates[0x81], (PVOID)OnCall);
    __asm__ volatile("lidt %0" : : "m"(New));
    DbgPrint("own vector: %I64x\n", Call());
    __asm__ volatile("lidt %0" : : "m"(Old));
    ExFreePoolWithTag(New.Gates, 'etaG');

    KernelClock = Replace(&Old.Gates[0xD1], (PVOID)OnClock);
    KeQuerySystemTime(&Start);
    do {
        KeStallExecutionProcessor(50);
        KeQuerySystemTime(&Now);
    } while (Now.QuadPart - Start.QuadPart < 500000);
    Replace(&Old.Gates[0xD1], KernelClock);
    DbgPrint("ticks: %s\n", Ticks >= 3 && Ticks <= 5 ? "as the time" : "others");
    KeRevertToUserAffinityThread();
    return STATUS_SUCCESS;
}
