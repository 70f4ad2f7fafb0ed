/* A VMX driver: enters a guest on this processor, answers its exits, ends it at HLT and goes on. */
#include <ntddk.h>

typedef struct {
    ULONG64 R15, R14, R13, R12, R11, R10, R9, R8, Rdi, Rsi, Rbp, Rbx, Rdx, Rcx, Rax;
} GUEST_REGISTERS;

ULONG64 SavedRsp;
static volatile ULONG GuestSaw[2];
static UCHAR HostStack[0x4000] __attribute__((aligned(16)));
static UCHAR GuestStack[0x1000] __attribute__((aligned(16)));

static ULONG64 ReadMsr(ULONG Index)
{
    ULONG Low, High;

    __asm__ volatile("rdmsr" : "=a"(Low), "=d"(High) : "c"(Index));
    return (ULONG64)High << 32 | Low;
}

static VOID Write(ULONG64 Field, ULONG64 Value)
{
    UCHAR Failed;

    __asm__ volatile("vmwrite %1, %2; setna %0" : "=q"(Failed) : "rm"(Value), "r"(Field) : "cc");
    if (Failed)
        DbgPrint("vmwrite of %I64x failed\n", Field);
}

static ULONG64 Read(ULONG64 Field)
{
    ULONG64 Value = 0;

    __asm__ volatile("vmread %1, %0" : "=rm"(Value) : "r"(Field) : "cc");
    return Value;
}

static ULONG Controls(ULONG Wanted, ULONG Msr)
{
    ULONG64 Allowed = ReadMsr(Msr);

    return (Wanted | (ULONG)Allowed) & (ULONG)(Allowed >> 32);
}

/* Returns 1 if the launch failed; 0 when the exit handler has come back here. */
__attribute__((naked)) static int Launch(VOID)
{
    __asm__("pushfq; push %rbx; push %rbp; push %rsi; push %rdi\n"
            "push %r12; push %r13; push %r14; push %r15\n"
            "mov %rsp, SavedRsp(%rip)\n"
            "vmlaunch\n"
            "mov $1, %eax\n"
            "jmp LaunchDone\n"
            "LaunchReturned: xor %eax, %eax\n"
            "LaunchDone: pop %r15; pop %r14; pop %r13; pop %r12\n"
            "pop %rdi; pop %rsi; pop %rbp; pop %rbx; popfq\n"
            "ret");
}

__attribute__((naked)) static VOID Guest(VOID)
{
    __asm__("mov $0x40000000, %eax; xor %ecx, %ecx\n"
            "cpuid\n"
            "mov %ebx, GuestSaw(%rip)\n"
            "mov $7, %ecx\n"
            "GuestLoop: vmcall\n"
            "loop GuestLoop\n"
            "mov %eax, GuestSaw+4(%rip)\n"
            "hlt");
}

static ULONG Calls;

/* 1: go on with the guest; 0: it has ended. */
__attribute__((used)) static int ExitHandler(GUEST_REGISTERS *Registers)
{
    ULONG Reason = (ULONG)Read(0x4402) & 0xffff;

    switch (Reason) {
    case 10:
        Registers->Rax = 0x40000001;
        Registers->Rbx = 0x4d49534e;
        DbgPrint("CPUID at guest+%I64x\n", Read(0x681e) - (ULONG64)(ULONG_PTR)Guest);
        break;
    case 18:
        Registers->Rax = ++Calls;
        break;
    default:
        DbgPrint("exit %u, IF %I64d\n", Reason, Read(0x6820) >> 9 & 1);
        return 0;
    }
    Write(0x681e, Read(0x681e) + Read(0x440c));
    return 1;
}

__attribute__((naked)) static VOID ExitStub(VOID)
{
    __asm__("push %rax; push %rcx; push %rdx; push %rbx; push %rbp; push %rsi; push %rdi\n"
            "push %r8; push %r9; push %r10; push %r11; push %r12; push %r13; push %r14; push %r15\n"
            "mov %rsp, %rcx\n"
            "sub $0x28, %rsp\n"
            "call ExitHandler\n"
            "add $0x28, %rsp\n"
            "test %eax, %eax\n"
            "jz 1f\n"
            "pop %r15; pop %r14; pop %r13; pop %r12; pop %r11; pop %r10; pop %r9; pop %r8\n"
            "pop %rdi; pop %rsi; pop %rbp; pop %rbx; pop %rdx; pop %rcx; pop %rax\n"
            "vmresume\n"
            "int3\n"
            "1: vmxoff\n"
            "mov SavedRsp(%rip), %rsp\n"
            "jmp LaunchReturned");
}

static VOID Segment(ULONG Index, USHORT Selector, ULONG64 Base, ULONG Limit, ULONG Rights)
{
    Write(0x800 + 2 * Index, Selector);
    Write(0x4800 + 2 * Index, Limit);
    Write(0x4814 + 2 * Index, Rights);
    Write(0x6806 + 2 * Index, Base);
}

static VOID SetUp(VOID)
{
    struct { USHORT Limit; ULONG64 Base; } __attribute__((packed)) Gdt, Idt;
    ULONG64 Cr0, Cr3, Cr4, Tss;
    ULONG *Descriptor;

    __asm__ volatile("sgdt %0" : "=m"(Gdt));
    __asm__ volatile("sidt %0" : "=m"(Idt));
    __asm__ volatile("mov %%cr0, %0; mov %%cr3, %1; mov %%cr4, %2" : "=r"(Cr0), "=r"(Cr3), "=r"(Cr4));
    Descriptor = (ULONG *)(ULONG_PTR)(Gdt.Base + 0x40);
    Tss = (Descriptor[0] >> 16) | (Descriptor[1] & 0xff) << 16 | (Descriptor[1] & 0xff000000)
        | (ULONG64)Descriptor[2] << 32;
    Write(0x4000, Controls(0, 0x48d));
    Write(0x4002, Controls(1 << 7, 0x48e));
    Write(0x400c, Controls(1 << 9, 0x48f));
    Write(0x4012, Controls(1 << 9, 0x490));
    Write(0x4004, 0);
    for (ULONG Field = 0x4006; Field <= 0x4016; Field += 2)
        if (Field != 0x400c && Field != 0x4012)
            Write(Field, 0);
    Write(0x6000, 0); Write(0x6002, 0); Write(0x6004, 0); Write(0x6006, 0); Write(0x2010, 0);
    Write(0x2800, ~0ULL); Write(0x2802, 0); Write(0x4824, 0); Write(0x4826, 0); Write(0x6822, 0);

    Write(0xc00, 0x28); Write(0xc02, 0x10); Write(0xc04, 0x18); Write(0xc06, 0x28);
    Write(0xc08, 0x50); Write(0xc0a, 0x28); Write(0xc0c, 0x40);
    Write(0x6c00, Cr0); Write(0x6c02, Cr3); Write(0x6c04, Cr4);
    Write(0x6c06, ReadMsr(0xC0000100)); Write(0x6c08, ReadMsr(0xC0000101)); Write(0x6c0a, Tss);
    Write(0x6c0c, Gdt.Base); Write(0x6c0e, Idt.Base);
    Write(0x4c00, 0); Write(0x6c10, 0); Write(0x6c12, 0);
    Write(0x6c14, (ULONG64)(ULONG_PTR)HostStack + sizeof(HostStack) - 8);
    Write(0x6c16, (ULONG64)(ULONG_PTR)ExitStub);

    Write(0x6800, Cr0); Write(0x6802, Cr3); Write(0x6804, Cr4); Write(0x681a, 0x400);
    Write(0x681c, (ULONG64)(ULONG_PTR)GuestStack + sizeof(GuestStack));
    Write(0x681e, (ULONG64)(ULONG_PTR)Guest); Write(0x6820, 2);
    Write(0x482a, 0); Write(0x6824, 0); Write(0x6826, 0);
    Segment(0, 0x2b, 0, ~0u, 0xc0f3); Segment(1, 0x10, 0, 0, 0x209b);
    Segment(2, 0x18, 0, 0, 0x4093); Segment(3, 0x2b, 0, ~0u, 0xc0f3);
    Segment(4, 0x53, 0, 0x3c00, 0x40f3); Segment(5, 0x2b, ReadMsr(0xC0000101), ~0u, 0xc0f3);
    Segment(6, 0, 0, 0, 0x10000); Segment(7, 0x40, Tss, 0x67, 0x8b);
    Write(0x6816, Gdt.Base); Write(0x6818, Idt.Base); Write(0x4810, Gdt.Limit); Write(0x4812, Idt.Limit);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    PHYSICAL_ADDRESS Highest;
    ULONG *Region;
    ULONG64 Pa, Cr4;
    UCHAR Failed;
    KIRQL Old;

    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    Highest.QuadPart = -1;
    Region = MmAllocateContiguousMemory(2 * PAGE_SIZE, Highest);
    RtlZeroMemory(Region, 2 * PAGE_SIZE);
    Region[0] = Region[1024] = (ULONG)ReadMsr(0x480);
    Pa = MmGetPhysicalAddress(Region).QuadPart;
    KeRaiseIrql(DISPATCH_LEVEL, &Old);
    __asm__ volatile("mov %%cr4, %0" : "=r"(Cr4));
    __asm__ volatile("mov %0, %%cr4" : : "r"(Cr4 | 1 << 13));
    __asm__ volatile("vmxon %1; setna %0" : "=q"(Failed) : "m"(Pa) : "cc", "memory");
    Pa += PAGE_SIZE;
    __asm__ volatile("vmclear %0; vmptrld %0" : : "m"(Pa) : "cc", "memory");
    SetUp();
    if (Launch())
        DbgPrint("vmlaunch failed: %I64d\n", Read(0x4400));
    __asm__ volatile("mov %0, %%cr4" : : "r"(Cr4));
    KeLowerIrql(Old);
    DbgPrint("guest saw %x, made %u calls, IRQL %d\n", GuestSaw[0], GuestSaw[1], KeGetCurrentIrql());
    MmFreeContiguousMemory(Region);
    return STATUS_SUCCESS;
}
