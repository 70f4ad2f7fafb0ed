/* Unwinding by hand and by language handlers; each line says what happened. */
#include <ntddk.h>

typedef struct _ENTRY {
    ULONG Begin, End, Unwind;
} ENTRY, *PENTRY;

typedef struct _DISPATCH {
    ULONG64 ControlPc, ImageBase;
    PENTRY Function;
    ULONG64 Frame, TargetIp;
    PCONTEXT Context;
    PVOID Handler, HandlerData, History;
    ULONG ScopeIndex, Fill;
} DISPATCH, *PDISPATCH;

NTSYSAPI VOID NTAPI RtlCaptureContext(PCONTEXT Context);
NTSYSAPI VOID NTAPI RtlRestoreContext(PCONTEXT Context, PEXCEPTION_RECORD Record);
NTSYSAPI PENTRY NTAPI RtlLookupFunctionEntry(ULONG64 Pc, PULONG64 Base, PVOID History);
NTSYSAPI PVOID NTAPI RtlVirtualUnwind(ULONG Kind, ULONG64 Base, ULONG64 Pc, PENTRY Entry,
                                      PCONTEXT Context, PVOID *Data, PULONG64 Frame, PVOID Places);
NTSYSAPI VOID NTAPI RtlUnwindEx(PVOID Frame, PVOID Ip, PEXCEPTION_RECORD Record, PVOID Value,
                                PCONTEXT Context, PVOID History);
NTSYSAPI PVOID NTAPI RtlPcToFileHeader(PVOID Pc, PVOID *Base);
NTSYSAPI VOID NTAPI RtlRaiseException(PEXCEPTION_RECORD Record);

static volatile ULONG *Nowhere = (volatile ULONG *)0x10;
static ULONG64 ImageBase;
static volatile BOOLEAN Always = TRUE;

/* A frame whose language handler is not __C_specific_handler but calls it, as the one that the
 * Microsoft compiler adds for security cookies does. The scope table: [1, 2) has a termination
 * handler, [1, 3) an exception handler. */
__attribute__((used)) static EXCEPTION_DISPOSITION
Checking(PEXCEPTION_RECORD Record, PVOID Frame, PCONTEXT Context, PDISPATCH Dispatch)
{
    DbgPrint("language handler: %s, frame %s, data %s\n",
             Record->ExceptionFlags & 0x66 ? "unwind" : "search",
             (ULONG64)Frame == Dispatch->Frame ? "right" : "wrong",
             *(PULONG)Dispatch->HandlerData == 2 ? "right" : "wrong");
    return __C_specific_handler(Record, Frame, Context, (PVOID)Dispatch);
}

__attribute__((used)) static LONG GuardedFilter(PEXCEPTION_POINTERS Pointers, PVOID Frame)
{
    UNREFERENCED_PARAMETER(Frame);
    DbgPrint("guarded filter: %x\n", Pointers->ExceptionRecord->ExceptionCode);
    return EXCEPTION_EXECUTE_HANDLER;
}

__attribute__((used)) static VOID GuardedFinally(BOOLEAN Abnormal, PVOID Frame)
{
    UNREFERENCED_PARAMETER(Frame);
    DbgPrint("guarded finally: %d\n", Abnormal);
}

ULONG64 Guarded(VOID (*Routine)(ULONG), ULONG Argument);
__asm__(".text\n"
        ".seh_proc Guarded\n"
        ".globl Guarded\n"
        "Guarded:\n"
        "  pushq %rbx\n"
        "  .seh_pushreg %rbx\n"
        "  subq $0x20, %rsp\n"
        "  .seh_stackalloc 0x20\n"
        "  .seh_endprologue\n"
        "  .seh_handler Checking, @unwind, @except\n"
        "  movq %rcx, %rax\n"
        "  movl %edx, %ecx\n"
        "  movl $0x77, %ebx\n"
        "G1:\n"
        "  callq *%rax\n"
        "  nop\n"
        "G2:\n"
        "  movl $1, %ebx\n"
        "G3:\n"
        "  movq %rbx, %rax\n"
        "  jmp G5\n"
        "G4:\n"
        "  shlq $32, %rax\n"
        "  orq %rbx, %rax\n"
        "G5:\n"
        "  nop\n"
        "  addq $0x20, %rsp\n"
        "  popq %rbx\n"
        "  retq\n"
        ".seh_handlerdata\n"
        "  .long 2\n"
        "  .long G1@IMGREL, G2@IMGREL, GuardedFinally@IMGREL, 0\n"
        "  .long G1@IMGREL, G3@IMGREL, GuardedFilter@IMGREL, G4@IMGREL\n"
        ".text\n"
        ".seh_endproc\n");

static VOID RaiseIt(ULONG Status)
{
    ExRaiseStatus(Status);
}

static VOID LanguageHandler(VOID)
{
    DbgPrint("guarded: %I64x\n", Guarded(RaiseIt, STATUS_DEVICE_BUSY));
}

/* Three frames up by hand, as a stack walker does. */
__attribute__((noinline)) static VOID Walk(ULONG Depth)
{
    CONTEXT Context;
    ULONG64 Base, Frame;
    PVOID Data, Handler;
    PENTRY Entry;
    ULONG Here = 0, i;

    if (Depth > 0) {
        Walk(Depth - 1);
        DbgPrint("walked from depth %u\n", Depth);
        return;
    }
    RtlCaptureContext(&Context);
    for (i = 0; i < 8; i++) {
        Entry = RtlLookupFunctionEntry(Context.Rip, &Base, NULL);
        if (Entry == NULL || Base != ImageBase)
            break;
        if (Base + Entry->Begin == (ULONG64)Walk)
            Here++;
        Handler = RtlVirtualUnwind(0, Base, Context.Rip, Entry, &Context, &Data, &Frame, NULL);
        if (Handler != NULL)
            DbgPrint("a handler that was not asked for\n");
    }
    DbgPrint("walk: %u frames of Walk, then %s\n", Here, Base == ImageBase ? "?" : "the kernel");
}

/* RtlRestoreContext goes back, once. */
static VOID Restore(VOID)
{
    CONTEXT Context;
    volatile ULONG Times = 0;

    RtlCaptureContext(&Context);
    if (Times++ < 2)
        RtlRestoreContext(&Context, NULL);
    DbgPrint("restored: %u times\n", Times - 1);
}

/* RtlUnwindEx to a frame further out: what is between runs its termination handlers. */
__attribute__((noinline)) static VOID UnwindTo(PVOID Frame, PVOID Ip, ULONG Depth)
{
    CONTEXT Context;

    if (Depth == 0)
        RtlUnwindEx(Frame, Ip, NULL, (PVOID)0x1234, &Context, NULL);
    __try {
        UnwindTo(Frame, Ip, Depth - 1);
    } __finally {
        DbgPrint("unwound by hand: %u\n", Depth);
    }
}

__attribute__((used)) static VOID Deeper(PVOID Frame, PVOID Ip)
{
    UnwindTo(Frame, Ip, 2);
}

ULONG64 Landing(VOID);
__asm__(".text\n"
        ".seh_proc Landing\n"
        ".globl Landing\n"
        "Landing:\n"
        "  pushq %rdi\n"
        "  .seh_pushreg %rdi\n"
        "  subq $0x20, %rsp\n"
        "  .seh_stackalloc 0x20\n"
        "  .seh_endprologue\n"
        "  movl $0x5, %edi\n"
        "  movq %rsp, %rcx\n"
        "  leaq 1f(%rip), %rdx\n"
        "  callq Deeper\n"
        "  movl $0xbad, %eax\n"
        "1:\n"
        "  addq %rdi, %rax\n"
        "  addq $0x20, %rsp\n"
        "  popq %rdi\n"
        "  retq\n"
        ".seh_endproc\n");

/* An exception in a filter is dispatched over the same frames; so its own filter runs again. */
static LONG Bad(PEXCEPTION_POINTERS Pointers, ULONG *Times)
{
    DbgPrint("bad filter: %x\n", Pointers->ExceptionRecord->ExceptionCode);
    if ((*Times)++ == 0)
        ExRaiseStatus(STATUS_INVALID_PARAMETER);
    return EXCEPTION_CONTINUE_SEARCH;
}

static VOID InFilter(VOID)
{
    ULONG Times = 0;

    __try {
        __try {
            *Nowhere = 1;
        } __except (Bad(GetExceptionInformation(), &Times)) {
            DbgPrint("not reached\n");
        }
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("nested: %x\n", GetExceptionCode());
    }
}

/* An exception in a termination handler collides with the unwind: the outer handler takes the new
 * one, and no termination handler runs twice. */
__attribute__((noinline)) static VOID Collider(VOID)
{
    __try {
        __try {
            *Nowhere = 1;
        } __finally {
            DbgPrint("colliding\n");
            if (Always)
                ExRaiseStatus(STATUS_DATA_ERROR);
        }
    } __finally {
        DbgPrint("once\n");
    }
}

static VOID Collided(VOID)
{
    __try {
        __try {
            Collider();
        } __except (GetExceptionCode() == STATUS_DATA_ERROR ? EXCEPTION_EXECUTE_HANDLER
                                                             : EXCEPTION_CONTINUE_SEARCH) {
            DbgPrint("collided, inner: %x\n", GetExceptionCode());
        }
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("collided, outer: %x\n", GetExceptionCode());
    }
}

static LONG Forgive(PEXCEPTION_POINTERS Pointers)
{
    DbgPrint("forgive: %x, %u, %I64x\n", Pointers->ExceptionRecord->ExceptionCode,
             Pointers->ExceptionRecord->NumberParameters,
             Pointers->ExceptionRecord->ExceptionInformation[1]);
    return Pointers->ExceptionRecord->ExceptionCode == 0xE0001234 ? EXCEPTION_CONTINUE_EXECUTION
                                                                  : EXCEPTION_CONTINUE_SEARCH;
}

static VOID RaiseRecord(ULONG Flags)
{
    EXCEPTION_RECORD Record = {0};

    Record.ExceptionCode = 0xE0001234;
    Record.ExceptionFlags = Flags;
    Record.NumberParameters = 2;
    Record.ExceptionInformation[1] = 99;
    __try {
        __try {
            RtlRaiseException(&Record);
            DbgPrint("went on behind RtlRaiseException\n");
        } __except (Forgive(GetExceptionInformation())) {
            DbgPrint("not reached\n");
        }
    } __except (GetExceptionCode() == 0xC0000025 ? EXCEPTION_EXECUTE_HANDLER
                                                 : EXCEPTION_CONTINUE_SEARCH) {
        DbgPrint("noncontinuable: %x\n", GetExceptionCode());
    }
}

/* Vector registers that a callee saves come back when its frame is unwound. */
__attribute__((noinline)) static VOID UsesVectors(double Value)
{
    register double Kept __asm__("xmm6") = Value;

    __asm__ volatile("" : "+x"(Kept) : : "xmm7", "xmm8");
    *Nowhere = 1;
    __asm__ volatile("" : "+x"(Kept));
}

static VOID Vectors(VOID)
{
    register double Kept __asm__("xmm6") = 3.0;

    __asm__ volatile("" : "+x"(Kept));
    __try {
        UsesVectors(8.0);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        double Value;
        __asm__ volatile("movapd %%xmm6, %0" : "=x"(Value));
        DbgPrint("vector register: %d\n", (int)Value);
    }
}

int _fltused = 0;

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    PVOID Base, Other;

    UNREFERENCED_PARAMETER(RegistryPath);
    ImageBase = (ULONG64)RtlPcToFileHeader((PVOID)DriverEntry, &Base);
    DbgPrint("header: %s, %s\n", ImageBase == (ULONG64)DriverObject->DriverStart ? "right" : "wrong",
             RtlPcToFileHeader((PVOID)0x1000, &Other) == NULL && Other == NULL ? "none" : "some");
    LanguageHandler();
    Walk(2);
    Restore();
    DbgPrint("landed: %I64x\n", Landing());
    InFilter();
    Collided();
    RaiseRecord(0);
    RaiseRecord(1);
    Vectors();
    return STATUS_SUCCESS;
}
