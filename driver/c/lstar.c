/* System calls enter here instead of KiSystemCall64: IA32_LSTAR of every processor leads to
 * OnSystemCall, which counts them, answers one number by itself and hands all others on. Unload puts
 * the registers back. */
#include <ntddk.h>

#define IA32_LSTAR 0xC0000082
#define SERVICES 0x200
#define OURS 0xBAD

ULONG64 KernelEntry;
ULONG Calls[SERVICES];
ULONG64 UserStack, ReturnAddress, UserFlags, FlagsInside;

/* On the kernel's stack, with the kernel's GS. */
VOID Seen(ULONG Number, ULONG64 Stack, ULONG64 Return, ULONG64 Flags)
{
    if (Number < SERVICES)
        InterlockedIncrement((LONG *)&Calls[Number]);
    UserStack = Stack;
    ReturnAddress = Return;
    UserFlags = Flags;
    FlagsInside = __readeflags();
    if (Number == OURS)
        DbgPrint("ours: a process of its own: %d\n", PsGetCurrentProcessId() != (HANDLE)4);
}

VOID OnSystemCall(VOID);
__asm__(".text\n"
        "OnSystemCall:\n"
        "  swapgs\n"
        "  movq %rsp, %gs:0x10\n"
        "  movq %gs:0x1a8, %rsp\n"
        "  pushq $0x2b\n"
        "  pushq %gs:0x10\n" /* SS and RSP, as the trap frame has them */
        "  pushq %rax\n"
        "  pushq %rcx\n"
        "  pushq %rdx\n"
        "  pushq %r8\n"
        "  pushq %r9\n"
        "  pushq %r10\n"
        "  pushq %r11\n"
        "  subq $0x28, %rsp\n"
        "  movq %r11, %r9\n"
        "  movq %rcx, %r8\n"
        "  movq %gs:0x10, %rdx\n"
        "  movl %eax, %ecx\n"
        "  callq Seen\n"
        "  addq $0x28, %rsp\n"
        "  popq %r11\n"
        "  popq %r10\n"
        "  popq %r9\n"
        "  popq %r8\n"
        "  popq %rdx\n"
        "  popq %rcx\n"
        "  popq %rax\n"
        "  movq (%rsp), %rsp\n"
        "  swapgs\n"
        "  cmpl $0xbad, %eax\n"
        "  je 1f\n"
        "  jmpq *KernelEntry(%rip)\n"
        "1:\n"
        "  leaq (%r10,%rdx), %rax\n"
        "  sysretq\n");

static VOID OnEachProcessor(ULONG64 Entry)
{
    for (CCHAR Number = 0; Number < KeNumberProcessors; Number++) {
        KeSetSystemAffinityThread((KAFFINITY)1 << Number);
        __writemsr(IA32_LSTAR, Entry);
    }
    KeRevertToUserAffinityThread();
}

static VOID Unload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);
    OnEachProcessor(KernelEntry);
    DbgPrint("closed: %u, created: %u\n", Calls[0x0F], Calls[0x48]);
    DbgPrint("from user code: %d, on a user stack: %d, flags %I64x, inside %I64x\n",
             ReturnAddress < 0x7fffffff0000, UserStack < 0x7fffffff0000, UserFlags,
             FlagsInside & 0x200);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);
    DriverObject->DriverUnload = Unload;
    KernelEntry = __readmsr(IA32_LSTAR);
    OnEachProcessor((ULONG64)OnSystemCall);
    return STATUS_SUCCESS;
}
