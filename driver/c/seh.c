/* Structured exception handling in all the forms that drivers use; each line says what happened. */
#include <ntddk.h>

static volatile ULONG *Nowhere = (volatile ULONG *)0x10;

static LONG Filter(PEXCEPTION_POINTERS Pointers, LONG Verdict)
{
    DbgPrint("filter: %x at %s, %I64x\n", Pointers->ExceptionRecord->ExceptionCode,
             (ULONG64)Pointers->ExceptionRecord->ExceptionAddress == Pointers->ContextRecord->Rip
                 ? "RIP" : "elsewhere",
             Pointers->ExceptionRecord->ExceptionInformation[1]);
    return Verdict;
}

static VOID Simple(VOID)
{
    __try {
        *Nowhere = 1;
        DbgPrint("not reached\n");
    } __except (Filter(GetExceptionInformation(), EXCEPTION_EXECUTE_HANDLER)) {
        DbgPrint("simple: %x\n", GetExceptionCode());
    }
}

static VOID Finally(VOID)
{
    __try {
        __try {
            DbgPrint("in\n");
            *Nowhere = 1;
        } __finally {
            DbgPrint("finally: abnormal %d\n", AbnormalTermination());
        }
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("after finally\n");
    }
    __try {
        DbgPrint("in\n");
    } __finally {
        DbgPrint("finally: abnormal %d\n", AbnormalTermination());
    }
}

__attribute__((noinline)) static VOID Raise(ULONG Depth)
{
    if (Depth == 0)
        ExRaiseStatus(STATUS_DEVICE_NOT_READY);
    __try {
        Raise(Depth - 1);
    } __finally {
        DbgPrint("unwound %u\n", Depth);
    }
}

static VOID AcrossFrames(VOID)
{
    __try {
        Raise(2);
    } __except (GetExceptionCode() == STATUS_DEVICE_NOT_READY ? EXCEPTION_EXECUTE_HANDLER
                                                              : EXCEPTION_CONTINUE_SEARCH) {
        DbgPrint("across frames: %x\n", GetExceptionCode());
    }
}

static VOID Nested(VOID)
{
    __try {
        __try {
            *Nowhere = 1;
        } __except (Filter(GetExceptionInformation(), EXCEPTION_CONTINUE_SEARCH)) {
            DbgPrint("not reached\n");
        }
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("outer\n");
    }
    __try {
        __try {
            *Nowhere = 1;
        } __except (EXCEPTION_EXECUTE_HANDLER) {
            ExRaiseStatus(STATUS_UNSUCCESSFUL);
        }
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("from a handler: %x\n", GetExceptionCode());
    }
}

static VOID Probes(VOID)
{
    __try {
        ProbeForRead((PVOID)0xffff800000000000ULL, 4, 1);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("probe: %x\n", GetExceptionCode());
    }
    __try {
        ProbeForRead((PVOID)0x10001, 4, 4);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("probe: %x\n", GetExceptionCode());
    }
}

static VOID Locals(ULONG Given)
{
    volatile ULONG Kept = Given * 2;

    __try {
        Kept++;
        *Nowhere = Kept;
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("locals: %u %u\n", Given, Kept);
    }
}

static LONG Repair(PEXCEPTION_POINTERS Pointers, ULONG *Good)
{
    Pointers->ContextRecord->Rcx = (ULONG64)Good;
    return EXCEPTION_CONTINUE_EXECUTION;
}

static VOID Continue(VOID)
{
    ULONG Good = 0;

    __try {
        __asm__ volatile("movl $7, (%%rcx)" : : "c"(Nowhere) : "memory");
        DbgPrint("went on: %u\n", *(volatile ULONG *)&Good);
    } __except (Repair(GetExceptionInformation(), &Good)) {
        DbgPrint("not reached\n");
    }
}

static VOID Raising(PIO_CSQ Queue, PKIRQL Irql)
{
    volatile ULONG Kept = 5;

    UNREFERENCED_PARAMETER(Queue);
    UNREFERENCED_PARAMETER(Irql);
    __try {
        ExRaiseStatus(STATUS_DEVICE_BUSY);
    } __finally {
        DbgPrint("unwound in a callback: %u\n", Kept);
    }
}

/* The exception passes through a routine of the kernel between two functions of ours. */
static VOID ThroughTheKernel(VOID)
{
    static IO_CSQ Queue;

    IoCsqInitialize(&Queue, NULL, NULL, NULL, Raising, NULL, NULL);
    __try {
        IoCsqRemoveNextIrp(&Queue, NULL);
    } __except (Filter(GetExceptionInformation(), EXCEPTION_EXECUTE_HANDLER)) {
        DbgPrint("through the kernel: %x\n", GetExceptionCode());
    }
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    Simple();
    Finally();
    AcrossFrames();
    Nested();
    Probes();
    Locals(21);
    ThroughTheKernel();
    Continue();
    return STATUS_SUCCESS;
}
