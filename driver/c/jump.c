/* Ways out of frames: longjmp, unwinds that collide in language handlers, C++'s consolidation; each
 * line says what happened. */
#include <ntddk.h>

typedef struct _DISPATCH {
    ULONG64 ControlPc, ImageBase;
    PVOID Function;
    ULONG64 Frame, TargetIp;
    PCONTEXT Context;
    PVOID Handler, HandlerData, History;
    ULONG ScopeIndex, Fill;
} DISPATCH, *PDISPATCH;

typedef struct _BUFFER {
    ULONG64 Frame, Rbx, Rsp, Rbp, Rsi, Rdi, R12, R13, R14, R15, Rip;
    ULONG MxCsr;
    USHORT FpCsr, Spare;
    __declspec(align(16)) ULONG64 Xmm[20];
} BUFFER, *PBUFFER;

NTSYSAPI VOID NTAPI RtlUnwindEx(PVOID Frame, PVOID Ip, PEXCEPTION_RECORD Record, PVOID Value,
                                PCONTEXT Context, PVOID History);
NTSYSAPI VOID NTAPI RtlCaptureContext(PCONTEXT Context);
NTSYSAPI VOID NTAPI RtlRestoreContext(PCONTEXT Context, PEXCEPTION_RECORD Record);
void LongJump(PBUFFER Buffer, int Value) __asm__("longjmp"); /* the headers say: no unwinding */

static volatile BOOLEAN Always = TRUE;
BUFFER Buffer;
PVOID Frame;

/* setjmp in a function without a frame pointer: its frame is RSP. R12 = the routine's argument. */
ULONG64 SetAndCall(VOID (*Routine)(ULONG), ULONG Argument, ULONG64 UseFrame);
__asm__(".text\n"
        ".seh_proc SetAndCall\n"
        ".globl SetAndCall\n"
        "SetAndCall:\n"
        "  pushq %rbx\n"
        "  .seh_pushreg %rbx\n"
        "  pushq %r12\n"
        "  .seh_pushreg %r12\n"
        "  subq $0x38, %rsp\n"
        "  .seh_stackalloc 0x38\n"
        "  movaps %xmm6, 0x20(%rsp)\n"
        "  .seh_savexmm %xmm6, 0x20\n"
        "  .seh_endprologue\n"
        "  movq %rcx, %rbx\n"
        "  movl %edx, %r12d\n"
        "  movl $0x1234, %eax\n"
        "  movq %rax, %xmm6\n"
        "  leaq Buffer(%rip), %rcx\n"
        "  movq %rsp, %rdx\n"
        "  movq %rsp, Frame(%rip)\n"
        "  testq %r8, %r8\n"
        "  cmovzq %r8, %rdx\n"
        "  callq _setjmpex\n"
        "  testl %eax, %eax\n"
        "  jnz 1f\n"
        "  pxor %xmm6, %xmm6\n"
        "  movl %r12d, %ecx\n"
        "  callq *%rbx\n"
        "1:\n"
        "  movslq %eax, %rax\n"
        "  shlq $32, %rax\n"
        "  movq %xmm6, %rdx\n"
        "  orq %rdx, %rax\n"
        "  movaps 0x20(%rsp), %xmm6\n"
        "  addq $0x38, %rsp\n"
        "  popq %r12\n"
        "  popq %rbx\n"
        "  retq\n"
        ".seh_endproc\n");

static VOID Jump(ULONG Value)
{
    __try {
        __try {
            if (Always)
                LongJump(&Buffer, Value);
        } __finally {
            DbgPrint("left by longjmp: %d\n", AbnormalTermination());
        }
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("not reached\n");
    }
}

static LONG JumpingFilter(ULONG Value)
{
    DbgPrint("a filter jumps\n");
    LongJump(&Buffer, Value);
    return EXCEPTION_CONTINUE_SEARCH;
}

static VOID JumpFromFilter(ULONG Value)
{
    __try {
        __try {
            ExRaiseStatus(STATUS_DEVICE_BUSY);
        } __finally {
            DbgPrint("below the filter\n");
        }
    } __except (JumpingFilter(Value)) {
        DbgPrint("not reached\n");
    }
}

static VOID JumpFromFinally(ULONG Value)
{
    __try {
        __try {
            __try {
                ExRaiseStatus(STATUS_DEVICE_BUSY);
            } __finally {
                DbgPrint("a termination handler jumps\n");
                if (Always)
                    LongJump(&Buffer, Value);
            }
        } __finally {
            DbgPrint("and further out\n");
        }
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("not reached\n");
    }
}

/* A frame whose language handler is the image's own and calls __C_specific_handler. */
__attribute__((used)) static EXCEPTION_DISPOSITION
Checking(PEXCEPTION_RECORD Record, PVOID Place, PCONTEXT Context, PDISPATCH Dispatch)
{
    if (Record->ExceptionFlags & 0x66)
        DbgPrint("own handler, unwind:%s%s from %u, %x\n",
                 Record->ExceptionFlags & 0x20 ? " target" : "",
                 Record->ExceptionFlags & 0x40 ? " collided" : "", Dispatch->ScopeIndex,
                 Record->ExceptionCode);
    return __C_specific_handler(Record, Place, Context, (PVOID)Dispatch);
}

__attribute__((used)) static VOID Raising(BOOLEAN Abnormal, PVOID Place)
{
    UNREFERENCED_PARAMETER(Place);
    DbgPrint("raising: %d\n", Abnormal);
    ExRaiseStatus(STATUS_DATA_ERROR);
}

__attribute__((used)) static VOID Outer(BOOLEAN Abnormal, PVOID Place)
{
    UNREFERENCED_PARAMETER(Place);
    DbgPrint("outer: %d\n", Abnormal);
}

VOID Guarded(VOID (*Routine)(ULONG), ULONG Argument);
__asm__(".text\n"
        ".seh_proc Guarded\n"
        ".globl Guarded\n"
        "Guarded:\n"
        "  subq $0x28, %rsp\n"
        "  .seh_stackalloc 0x28\n"
        "  .seh_endprologue\n"
        "  .seh_handler Checking, @unwind, @except\n"
        "  movq %rcx, %rax\n"
        "  movl %edx, %ecx\n"
        "J1:\n"
        "  callq *%rax\n"
        "  nop\n"
        "J2:\n"
        "  addq $0x28, %rsp\n"
        "  retq\n"
        ".seh_handlerdata\n"
        "  .long 2\n"
        "  .long J1@IMGREL, J2@IMGREL, Raising@IMGREL, 0\n"
        "  .long J1@IMGREL, J2@IMGREL, Outer@IMGREL, 0\n"
        ".text\n"
        ".seh_endproc\n");

static VOID RaiseIt(ULONG Status)
{
    ExRaiseStatus(Status);
}

/* The exception of a termination handler takes over: none runs twice, whoever calls them. */
static VOID CollideInOwnHandler(VOID)
{
    __try {
        __try {
            Guarded(RaiseIt, STATUS_DEVICE_BUSY);
        } __except (GetExceptionCode() == STATUS_DATA_ERROR ? EXCEPTION_EXECUTE_HANDLER
                                                             : EXCEPTION_CONTINUE_SEARCH) {
            DbgPrint("collided: %x\n", GetExceptionCode());
        }
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("not reached\n");
    }
}

static VOID LongJumpThroughOwnHandler(ULONG Value)
{
    UNREFERENCED_PARAMETER(Value);
    __try {
        Guarded(Jump, 9);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("instead of the jump: %x\n", GetExceptionCode());
    }
}

/* What C++ does when it has found a catch block: it is called when the unwinding is done. */
__attribute__((used)) static PVOID CatchBlock(PEXCEPTION_RECORD Record)
{
    DbgPrint("catch block: %x, %u\n", Record->ExceptionCode,
             (ULONG)Record->ExceptionInformation[1]);
    return (PVOID)Buffer.Rip;
}

static VOID Consolidate(ULONG Value)
{
    EXCEPTION_RECORD Record = {0};
    CONTEXT Context;

    Record.ExceptionCode = 0x80000029;
    Record.NumberParameters = 2;
    Record.ExceptionInformation[0] = (ULONG64)CatchBlock;
    Record.ExceptionInformation[1] = 55;
    __try {
        RtlUnwindEx(Frame, NULL, &Record, (PVOID)(ULONG64)Value, &Context, NULL);
    } __finally {
        DbgPrint("before the catch block\n");
    }
}

static VOID NoSuchFrame(VOID)
{
    CONTEXT Context;

    __try {
        RtlUnwindEx((PVOID)&Context, NULL, NULL, NULL, &Context, NULL);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("no such frame: %x\n", GetExceptionCode());
    }
}

static VOID RestoreJump(ULONG Value)
{
    EXCEPTION_RECORD Record = {0};
    CONTEXT Context;

    RtlCaptureContext(&Context);
    Context.Rax = Value;
    Record.ExceptionCode = 0x80000026;
    Record.NumberParameters = 1;
    Record.ExceptionInformation[0] = (ULONG64)&Buffer;
    RtlRestoreContext(&Context, &Record);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    DbgPrint("jumped: %I64x\n", SetAndCall(Jump, 7, 1));
    DbgPrint("jumped: %I64x\n", SetAndCall(Jump, 0, 1));
    DbgPrint("without a frame: %I64x\n", SetAndCall(Jump, 3, 0));
    DbgPrint("from a filter: %I64x\n", SetAndCall(JumpFromFilter, 4, 1));
    DbgPrint("from a termination handler: %I64x\n", SetAndCall(JumpFromFinally, 5, 1));
    CollideInOwnHandler();
    DbgPrint("through: %I64x\n", SetAndCall(LongJumpThroughOwnHandler, 1, 1) >> 32 ? 1ull : 0ull);
    DbgPrint("consolidated: %I64x\n", SetAndCall(Consolidate, 6, 1));
    NoSuchFrame();
    DbgPrint("restored: %I64x\n", SetAndCall(RestoreJump, 8, 1));
    return STATUS_SUCCESS;
}
