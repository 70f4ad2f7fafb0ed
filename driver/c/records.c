/* What handlers see of an exception: its record, its flags and its context; each line says what
 * happened. */
#include <ntddk.h>

typedef struct _DISPATCH {
    ULONG64 ControlPc, ImageBase;
    PVOID Function;
    ULONG64 Frame, TargetIp;
    PCONTEXT Context;
    PVOID Handler, HandlerData, History;
    ULONG ScopeIndex, Fill;
} DISPATCH, *PDISPATCH;

NTSYSAPI VOID NTAPI RtlRaiseException(PEXCEPTION_RECORD Record);

static volatile ULONG *Nowhere = (volatile ULONG *)0x10;
static volatile BOOLEAN Always = TRUE;

/* A filter that raises an exception of its own: the frames that were being asked about the first
 * are asked about the second with EXCEPTION_NESTED_CALL, those further out without. */
static LONG Flags(PCSTR Name, PEXCEPTION_POINTERS Pointers, NTSTATUS Wanted, NTSTATUS Raised)
{
    PEXCEPTION_RECORD Record = Pointers->ExceptionRecord;

    DbgPrint("%s: %x, flags %x\n", Name, Record->ExceptionCode, Record->ExceptionFlags);
    if (Raised != 0 && !(Record->ExceptionFlags & 0x10))
        ExRaiseStatus(Raised);
    return Record->ExceptionCode == Wanted ? EXCEPTION_EXECUTE_HANDLER : EXCEPTION_CONTINUE_SEARCH;
}

__attribute__((noinline)) static VOID Innermost(VOID)
{
    __try {
        *Nowhere = 1;
    } __except (Flags("innermost", GetExceptionInformation(), 0, 0)) {
        DbgPrint("not reached\n");
    }
}

__attribute__((noinline)) static VOID Middle(VOID)
{
    __try {
        Innermost();
    } __except (Flags("middle", GetExceptionInformation(), 0, STATUS_DATA_ERROR)) {
        DbgPrint("not reached\n");
    }
}

static VOID NestedCall(VOID)
{
    __try {
        __try {
            Middle();
        } __except (Flags("outer", GetExceptionInformation(), STATUS_DATA_ERROR, 0)) {
            DbgPrint("nested: %x\n", GetExceptionCode());
            ExRaiseStatus(STATUS_CRC_ERROR);
        }
    } __except (Flags("outermost", GetExceptionInformation(), STATUS_CRC_ERROR, 0)) {
        DbgPrint("afterwards: %x\n", GetExceptionCode());
    }
}

/* Three exceptions on one another: the third is nested in all frames that the others reached. */
static VOID NestedTwice(VOID)
{
    __try {
        __try {
            Middle();
        } __except (Flags("second", GetExceptionInformation(), 0, STATUS_DISK_FULL)) {
            DbgPrint("not reached\n");
        }
    } __except (Flags("third", GetExceptionInformation(), STATUS_DISK_FULL, 0)) {
        DbgPrint("nested twice: %x\n", GetExceptionCode());
    }
}

/* An exception out of a termination handler is not nested. */
__attribute__((noinline)) static VOID Cleaning(VOID)
{
    __try {
        *Nowhere = 1;
    } __finally {
        if (Always)
            ExRaiseStatus(STATUS_DATA_ERROR);
    }
}

static VOID Collided(VOID)
{
    __try {
        __try {
            Cleaning();
        } __except (Flags("inner", GetExceptionInformation(), STATUS_DATA_ERROR, 0)) {
            DbgPrint("collided: %x\n", GetExceptionCode());
        }
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("collided, outer: %x\n", GetExceptionCode());
    }
}

/* The record is the raiser's own, and what a filter changes in it, the next one sees. */
static PEXCEPTION_RECORD Own;

static LONG Change(PEXCEPTION_POINTERS Pointers)
{
    PEXCEPTION_RECORD Record = Pointers->ExceptionRecord;

    DbgPrint("the raiser's own record: %s, at RIP: %s\n", Record == Own ? "yes" : "no",
             (ULONG64)Record->ExceptionAddress == Pointers->ContextRecord->Rip ? "yes" : "no");
    Record->ExceptionCode = 0xE0005678;
    Record->ExceptionInformation[1] = 7;
    return EXCEPTION_CONTINUE_SEARCH;
}

static LONG Look(PEXCEPTION_POINTERS Pointers)
{
    PEXCEPTION_RECORD Record = Pointers->ExceptionRecord;

    DbgPrint("changed: %x, %u, %u, %s\n", Record->ExceptionCode, Record->NumberParameters,
             (ULONG)Record->ExceptionInformation[1],
             Record->ExceptionRecord == (PEXCEPTION_RECORD)0x1234 ? "chained" : "not chained");
    return EXCEPTION_EXECUTE_HANDLER;
}

static VOID Changed(VOID)
{
    EXCEPTION_RECORD Record = {0};

    Own = &Record;
    Record.ExceptionCode = 0xE0001234;
    Record.ExceptionRecord = (PEXCEPTION_RECORD)0x1234;
    Record.NumberParameters = 2;
    __try {
        __try {
            RtlRaiseException(&Record);
        } __except (Change(GetExceptionInformation())) {
            DbgPrint("not reached\n");
        }
    } __except (Look(GetExceptionInformation())) {
        DbgPrint("handled as: %x\n", GetExceptionCode());
    }
    DbgPrint("own record: %x, flags %x, %u\n", Record.ExceptionCode,
             Record.ExceptionFlags & 1, (ULONG)Record.ExceptionInformation[1]);
}

/* What the dispatcher raises itself tells what it is about. */
static LONG GoOn(PEXCEPTION_POINTERS Pointers)
{
    PEXCEPTION_RECORD Record = Pointers->ExceptionRecord, About = Record->ExceptionRecord;

    DbgPrint("about: %x, flags %x, %x\n", Record->ExceptionCode, Record->ExceptionFlags & 0x11,
             About != NULL ? About->ExceptionCode : 0);
    return Record->ExceptionCode == STATUS_DEVICE_BUSY ? EXCEPTION_CONTINUE_EXECUTION
                                                        : EXCEPTION_EXECUTE_HANDLER;
}

static VOID NotContinuable(VOID)
{
    __try {
        ExRaiseStatus(STATUS_DEVICE_BUSY);
    } __except (GoOn(GetExceptionInformation())) {
        DbgPrint("not continuable: %x\n", GetExceptionCode());
    }
}

/* A handler deeper on the stack than any array of frames is long. */
__attribute__((noinline)) static ULONG Deep(ULONG Depth)
{
    volatile ULONG Kept = Depth;

    if (Depth == 0)
        ExRaiseStatus(STATUS_STACK_OVERFLOW);
    return Deep(Depth - 1) + Kept;
}

static VOID FromFarBelow(VOID)
{
    __try {
        DbgPrint("not reached: %u\n", Deep(300));
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("from far below: %x\n", GetExceptionCode());
    }
}

/* A language handler of its own: the contexts that it gets while the exception is dispatched and
 * while the frame is unwound. [1, 2) has a termination handler that leaves the unwinding by
 * _local_unwind, as a `return` in a __finally block does. */
__attribute__((used)) static EXCEPTION_DISPOSITION
Watching(PEXCEPTION_RECORD Record, PVOID Frame, PCONTEXT Context, PDISPATCH Dispatch)
{
    BOOLEAN Unwinding = (Record->ExceptionFlags & 0x66) != 0;
    ULONG64 Stack = (ULONG64)Frame + (Unwinding ? 0 : 0x20 + 8 + 8);

    DbgPrint("%s: RBX %x, stack %s, RIP %s, context %s\n", Unwinding ? "unwinding" : "searching",
             (ULONG)Dispatch->Context->Rbx, Dispatch->Context->Rsp == Stack ? "right" : "wrong",
             Dispatch->Context->Rip == Dispatch->ControlPc ? "here" : "at the caller",
             Context == Dispatch->Context ? "the frame's"
             : Context->Rip == (ULONG64)Record->ExceptionAddress ? "the exception's" : "wrong");
    return __C_specific_handler(Record, Frame, Context, (PVOID)Dispatch);
}

__attribute__((used)) static VOID Note(PCSTR Text)
{
    DbgPrint("%s\n", Text);
}

static const char TextFinally[] __attribute__((used)) = "left by a return";

ULONG64 Returning(VOID (*Routine)(VOID));
VOID ReturningFinally(BOOLEAN Abnormal, PVOID Frame);
__asm__(".text\n"
        ".seh_proc Returning\n"
        ".globl Returning\n"
        "Returning:\n"
        "  pushq %rbx\n"
        "  .seh_pushreg %rbx\n"
        "  subq $0x20, %rsp\n"
        "  .seh_stackalloc 0x20\n"
        "  .seh_endprologue\n"
        "  .seh_handler Watching, @unwind, @except\n"
        "  movl $0x55, %ebx\n"
        "R1:\n"
        "  callq *%rcx\n"
        "  nop\n"
        "R2:\n"
        "  xorl %eax, %eax\n"
        "  jmp R4\n"
        "R3:\n"
        "  leaq 0x100(%rbx), %rax\n"
        "R4:\n"
        "  nop\n"
        "  addq $0x20, %rsp\n"
        "  popq %rbx\n"
        "  retq\n"
        ".seh_handlerdata\n"
        "  .long 1\n"
        "  .long R1@IMGREL, R2@IMGREL, ReturningFinally@IMGREL, 0\n"
        ".text\n"
        ".seh_endproc\n"
        ".seh_proc ReturningFinally\n"
        ".globl ReturningFinally\n"
        "ReturningFinally:\n"
        "  pushq %rdi\n"
        "  .seh_pushreg %rdi\n"
        "  subq $0x20, %rsp\n"
        "  .seh_stackalloc 0x20\n"
        "  .seh_endprologue\n"
        "  movq %rdx, %rdi\n"
        "  leaq TextFinally(%rip), %rcx\n"
        "  callq Note\n"
        "  movq %rdi, %rcx\n"
        "  leaq R3(%rip), %rdx\n"
        "  callq _local_unwind\n"
        "  nop\n"
        "  addq $0x20, %rsp\n"
        "  popq %rdi\n"
        "  retq\n"
        ".seh_endproc\n");

__attribute__((noinline)) static VOID Busy(VOID)
{
    __try {
        ExRaiseStatus(STATUS_DEVICE_BUSY);
    } __finally {
        DbgPrint("first\n");
    }
}

static VOID ReturnInFinally(VOID)
{
    __try {
        DbgPrint("returned: %I64x\n", Returning(Busy));
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("not reached\n");
    }
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    NestedCall();
    NestedTwice();
    Collided();
    Changed();
    NotContinuable();
    FromFarBelow();
    ReturnInFinally();
    return STATUS_SUCCESS;
}
