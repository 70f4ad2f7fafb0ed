/* Faults of the processor under __try, and what drivers raise themselves: each line has the code,
 * the number of parameters, the first two of them and where the exception was. */
#include <ntddk.h>

ULONG One = 1;
UCHAR Zero = 0;
static volatile UCHAR Buffer[16] = {1};

static LONG Show(PCSTR Name, PEXCEPTION_POINTERS Pointers)
{
    PEXCEPTION_RECORD Record = Pointers->ExceptionRecord;
    PUCHAR Place = (PUCHAR)Record->ExceptionAddress;

    DbgPrint("%s: %x, %u, %I64x %I64x, byte %x, %s, flags %x\n", Name, Record->ExceptionCode,
             Record->NumberParameters,
             Record->NumberParameters > 0 ? Record->ExceptionInformation[0] : 0,
             Record->NumberParameters > 1 ? Record->ExceptionInformation[1] : 0, *Place,
             (ULONG64)Place == Pointers->ContextRecord->Rip ? "at RIP" : "elsewhere",
             Record->ExceptionFlags);
    return EXCEPTION_EXECUTE_HANDLER;
}

#define UNDER_TRY(Name, Statement) \
    __attribute__((noinline)) static VOID Name(VOID) \
    { \
        __try { \
            Statement; \
            DbgPrint(#Name ": went on\n"); \
        } __except (Show(#Name, GetExceptionInformation())) { \
        } \
    }

#define ASM(Text) __asm__ volatile(Text : : : "rax", "rcx", "rdx", "r8", "memory", "cc")

UNDER_TRY(DivideByZero, ASM("movl $77, %%eax; cltd; xorl %%ecx, %%ecx; idivl %%ecx"))
UNDER_TRY(DivideOverflow, ASM("movl $0x80000000, %%eax; cltd; movl $-1, %%ecx; idivl %%ecx"))
UNDER_TRY(DivideOverflow64,
          ASM("movabs $0x8000000000000000, %%rax; cqto; movq $-1, %%r8; idivq %%r8"))
UNDER_TRY(DivideInMemory, ASM("movl $1, %%edx; xorl %%eax, %%eax; divl One(%%rip)"))
UNDER_TRY(DivideByteInMemory, ASM("movl $0x5500, %%eax; xorl %%ecx, %%ecx; divb Zero(%%rip)"))
UNDER_TRY(Illegal, ASM("ud2"))
UNDER_TRY(Breakpoint, ASM("int3"))
UNDER_TRY(DebugPrint, ASM("movl $1, %%eax; xorl %%ecx, %%ecx; xorl %%edx, %%edx; int $0x2d; int3"))
UNDER_TRY(DebugService, ASM("movl $0x77, %%eax; movl $5, %%ecx; movl $6, %%edx; int $0x2d; nop"))
UNDER_TRY(Assertion, ASM("int $0x2c"))
UNDER_TRY(NoGate, ASM("int $0x70"))
UNDER_TRY(NotCanonical, ASM("movabs $0x8000000000000000, %%rax; movq (%%rax), %%rcx"))
UNDER_TRY(Privileged, ASM("movl $0x12345678, %%ecx; rdmsr"))
UNDER_TRY(SingleStep, ASM("pushfq; orl $0x100, (%%rsp); popfq; nop; nop"))
UNDER_TRY(Status, ExRaiseStatus(STATUS_DEVICE_BUSY))
UNDER_TRY(AccessViolation, ExRaiseAccessViolation())
UNDER_TRY(DatatypeMisalignment, ExRaiseDatatypeMisalignment())
UNDER_TRY(Read, ASM("xorl %%eax, %%eax; movl 0x10(%%rax), %%ecx"))
UNDER_TRY(Write, ASM("xorl %%eax, %%eax; movl %%ecx, 0x10(%%rax)"))
UNDER_TRY(Direction, ASM("std; ud2"))

static VOID AtDispatchLevel(VOID)
{
    KIRQL Old;

    KeRaiseIrql(DISPATCH_LEVEL, &Old);
    Status();
    DivideByZero();
    KeLowerIrql(Old);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    DivideByZero();
    DivideOverflow();
    DivideOverflow64();
    DivideInMemory();
    DivideByteInMemory();
    Illegal();
    Breakpoint();
    DebugPrint();
    DebugService();
    Assertion();
    NoGate();
    NotCanonical();
    Privileged();
    Status();
    AccessViolation();
    DatatypeMisalignment();
    Read();
    Write();
    AtDispatchLevel();
    SingleStep();
    Direction();
    __asm__ volatile("rep stosb" : : "D"(Buffer), "c"(sizeof(Buffer)), "a"(0) : "memory");
    DbgPrint("behind std: %x\n", Buffer[0] | Buffer[sizeof(Buffer) - 1]);
    return STATUS_SUCCESS;
}
