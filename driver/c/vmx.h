/* VT-x for the drivers that use it: instructions, field encodings, a VMCS from the processor's state.

   Encodings: SDM 3, appendix B. What a VM entry checks: SDM 3, "VM Entries". */
#pragma once
#include <ntddk.h>

enum {
    MSR_FEATURE_CONTROL = 0x3a, MSR_SYSENTER_CS = 0x174, MSR_VMX_BASIC = 0x480,
    MSR_VMX_PINBASED = 0x481, MSR_VMX_PROCBASED = 0x482, MSR_VMX_EXIT = 0x483,
    MSR_VMX_ENTRY = 0x484, MSR_VMX_PROCBASED2 = 0x48b, MSR_DEBUGCTL = 0x1d9,
    MSR_FS_BASE = 0xc0000100, MSR_GS_BASE = 0xc0000101,
    EPT_POINTER = 0x201a, MSR_BITMAP = 0x2004, VMCS_LINK_POINTER = 0x2800,
    GUEST_DEBUGCTL = 0x2802, PIN_BASED = 0x4000, PRIMARY = 0x4002, EXCEPTION_BITMAP = 0x4004,
    EXIT_CONTROLS = 0x400c, ENTRY_CONTROLS = 0x4012, ENTRY_EVENT = 0x4016, SECONDARY = 0x401e,
    INSTRUCTION_ERROR = 0x4400, EXIT_REASON = 0x4402, INSTRUCTION_LENGTH = 0x440c,
    EXIT_QUALIFICATION = 0x6400,
    HOST_RSP = 0x6c14, HOST_RIP = 0x6c16, HOST_CR3 = 0x6c02,
    GUEST_CR3 = 0x6802, GUEST_RSP = 0x681c, GUEST_RIP = 0x681e, GUEST_RFLAGS = 0x6820,
    TRUE_CONTROLS = 0xc, CR4_VMXE = 1 << 13,
    EXIT_CPUID = 10, EXIT_HLT = 12, EXIT_INVD = 13, EXIT_VMCALL = 18, EXIT_VMXON = 27,
    EXIT_CR_ACCESS = 28, EXIT_IO = 30, EXIT_RDMSR = 31, EXIT_WRMSR = 32, EXIT_XSETBV = 55,
};

typedef struct {
    ULONG64 R15, R14, R13, R12, R11, R10, R9, R8, Rdi, Rsi, Rbp, Rbx, Rdx, Rcx, Rax;
} GUEST_REGISTERS;

/* What an exit handler pushes and pops: GUEST_REGISTERS, without the guest's RSP. */
#define PUSH_REGISTERS \
    "push %rax; push %rcx; push %rdx; push %rbx; push %rbp; push %rsi; push %rdi\n" \
    "push %r8; push %r9; push %r10; push %r11; push %r12; push %r13; push %r14; push %r15\n"
#define POP_REGISTERS \
    "pop %r15; pop %r14; pop %r13; pop %r12; pop %r11; pop %r10; pop %r9; pop %r8\n" \
    "pop %rdi; pop %rsi; pop %rbp; pop %rbx; pop %rdx; pop %rcx; pop %rax\n"

/* What a routine has to keep for its caller, without the XMM registers. */
#define PUSH_NONVOLATILE \
    "push %rbx; push %rbp; push %rsi; push %rdi; push %r12; push %r13; push %r14; push %r15\n"
#define POP_NONVOLATILE \
    "pop %r15; pop %r14; pop %r13; pop %r12; pop %rdi; pop %rsi; pop %rbp; pop %rbx\n"

static inline ULONG64 ReadMsr(ULONG Index)
{
    ULONG Low, High;

    __asm__ volatile("rdmsr" : "=a"(Low), "=d"(High) : "c"(Index));
    return (ULONG64)High << 32 | Low;
}

static inline VOID WriteMsr(ULONG Index, ULONG64 Value)
{
    __asm__ volatile("wrmsr" : : "c"(Index), "a"((ULONG)Value), "d"((ULONG)(Value >> 32)));
}

static inline VOID Cpuid(ULONG Leaf, ULONG Subleaf, ULONG Out[4])
{
    __asm__ volatile("cpuid" : "=a"(Out[0]), "=b"(Out[1]), "=c"(Out[2]), "=d"(Out[3])
                     : "a"(Leaf), "c"(Subleaf));
}

static inline ULONG64 ReadCr4(VOID)
{
    ULONG64 Value;

    __asm__ volatile("mov %%cr4, %0" : "=r"(Value));
    return Value;
}

static inline VOID WriteCr4(ULONG64 Value)
{
    __asm__ volatile("mov %0, %%cr4" : : "r"(Value));
}

static inline ULONG64 ReadCr3(VOID)
{
    ULONG64 Value;

    __asm__ volatile("mov %%cr3, %0" : "=r"(Value));
    return Value;
}

static inline ULONG64 ReadCr0(VOID)
{
    ULONG64 Value;

    __asm__ volatile("mov %%cr0, %0" : "=r"(Value));
    return Value;
}

/* The VMX instructions with one operand in memory; not 0 if they failed. */
#define ON_POINTER(Name, Instruction) \
    static inline UCHAR Name(ULONG64 Pa) \
    { \
        UCHAR Failed; \
        __asm__ volatile(Instruction " %1; setna %0" : "=q"(Failed) : "m"(Pa) : "cc", "memory"); \
        return Failed; \
    }
ON_POINTER(VmxOn, "vmxon")
ON_POINTER(VmClear, "vmclear")
ON_POINTER(VmPtrLd, "vmptrld")

static inline VOID VmxOff(VOID)
{
    __asm__ volatile("vmxoff" : : : "cc", "memory");
}

static inline UCHAR Write(ULONG64 Field, ULONG64 Value)
{
    UCHAR Failed;

    __asm__ volatile("vmwrite %1, %2; setna %0" : "=q"(Failed) : "rm"(Value), "r"(Field) : "cc");
    return Failed;
}

static inline ULONG64 Read(ULONG64 Field)
{
    ULONG64 Value = 0;

    __asm__ volatile("vmread %1, %0" : "=rm"(Value) : "r"(Field) : "cc");
    return Value;
}

static inline VOID SkipInstruction(VOID)
{
    Write(GUEST_RIP, Read(GUEST_RIP) + Read(INSTRUCTION_LENGTH));
}

/* VT-x is there, and firmware has allowed VMXON and locked that in. */
static inline BOOLEAN VmxSupported(VOID)
{
    ULONG Leaf[4];

    Cpuid(1, 0, Leaf);
    return (Leaf[2] >> 5 & 1) && (ReadMsr(MSR_FEATURE_CONTROL) & 5) == 5;
}

/* A zeroed page that begins with the processor's VMCS revision identifier, or NULL. */
static inline PVOID AllocateVmxRegion(VOID)
{
    PHYSICAL_ADDRESS Highest;
    ULONG *Region;

    Highest.QuadPart = -1;
    Region = MmAllocateContiguousMemory(PAGE_SIZE, Highest);
    if (Region) {
        RtlZeroMemory(Region, PAGE_SIZE);
        Region[0] = (ULONG)ReadMsr(MSR_VMX_BASIC) & 0x7fffffff;
    }
    return Region;
}

static inline ULONG64 Physical(PVOID Address)
{
    return MmGetPhysicalAddress(Address).QuadPart;
}

/* Without the bits that must be 0, with those that must be 1. */
static inline ULONG Controls(ULONG Wanted, ULONG Msr)
{
    ULONG64 Allowed;

    if (Msr != MSR_VMX_PROCBASED2 && ReadMsr(MSR_VMX_BASIC) >> 55 & 1)
        Msr += TRUE_CONTROLS;
    Allowed = ReadMsr(Msr);
    return (Wanted | (ULONG)Allowed) & (ULONG)(Allowed >> 32);
}

static inline ULONG64 SystemBase(ULONG64 Gdt, USHORT Selector)
{
    ULONG *Descriptor = (ULONG *)(ULONG_PTR)(Gdt + (Selector & ~7));

    return (Descriptor[0] >> 16) | (Descriptor[1] & 0xff) << 16 | (Descriptor[1] & 0xff000000)
        | (ULONG64)Descriptor[2] << 32;
}

static inline VOID GuestSegment(ULONG Index, USHORT Selector, ULONG64 Base)
{
    ULONG Rights = 0, Limit = 0;

    if (Selector & ~3) {
        __asm__("lar %1, %0" : "=r"(Rights) : "r"((ULONG)Selector) : "cc");
        __asm__("lsl %1, %0" : "=r"(Limit) : "r"((ULONG)Selector) : "cc");
    }
    Write(0x800 + 2 * Index, Selector);
    Write(0x4800 + 2 * Index, Limit);
    Write(0x4814 + 2 * Index, Selector & ~3 ? Rights >> 8 & 0xf0ff : 0x10000);
    Write(0x6806 + 2 * Index, Base);
}

typedef struct { USHORT Limit; ULONG64 Base; } __attribute__((packed)) TABLE;

static inline VOID StoreTables(TABLE *Gdt, TABLE *Idt)
{
    __asm__ volatile("sgdt %0; sidt %1" : "=m"(*Gdt), "=m"(*Idt));
}

/* The processor as it is now, as host and as guest; controls, RIP and RSP are the caller's. */
static inline VOID WriteProcessorState(VOID)
{
    TABLE Gdt, Idt;
    USHORT Es, Cs, Ss, Ds, Fs, Gs, Ldtr, Tr;
    ULONG64 Rflags, Dr7;

    StoreTables(&Gdt, &Idt);
    __asm__ volatile("mov %%es, %0; mov %%cs, %1; mov %%ss, %2; mov %%ds, %3"
                     : "=r"(Es), "=r"(Cs), "=r"(Ss), "=r"(Ds));
    __asm__ volatile("mov %%fs, %0; mov %%gs, %1" : "=r"(Fs), "=r"(Gs));
    __asm__ volatile("sldt %0; str %1" : "=r"(Ldtr), "=r"(Tr));
    __asm__ volatile("pushfq; pop %0; mov %%dr7, %1" : "=r"(Rflags), "=r"(Dr7));

    Write(0xc00, Es & ~7); Write(0xc02, Cs & ~7); Write(0xc04, Ss & ~7); Write(0xc06, Ds & ~7);
    Write(0xc08, Fs & ~7); Write(0xc0a, Gs & ~7); Write(0xc0c, Tr & ~7);
    Write(0x6c00, ReadCr0()); Write(HOST_CR3, ReadCr3()); Write(0x6c04, ReadCr4());
    Write(0x6c06, ReadMsr(MSR_FS_BASE)); Write(0x6c08, ReadMsr(MSR_GS_BASE));
    Write(0x6c0a, SystemBase(Gdt.Base, Tr)); Write(0x6c0c, Gdt.Base); Write(0x6c0e, Idt.Base);

    GuestSegment(0, Es, 0); GuestSegment(1, Cs, 0); GuestSegment(2, Ss, 0); GuestSegment(3, Ds, 0);
    GuestSegment(4, Fs, ReadMsr(MSR_FS_BASE)); GuestSegment(5, Gs, ReadMsr(MSR_GS_BASE));
    GuestSegment(6, Ldtr, 0); GuestSegment(7, Tr, SystemBase(Gdt.Base, Tr));
    Write(0x6816, Gdt.Base); Write(0x6818, Idt.Base);
    Write(0x4810, Gdt.Limit); Write(0x4812, Idt.Limit);
    Write(0x6800, ReadCr0()); Write(GUEST_CR3, ReadCr3()); Write(0x6804, ReadCr4());
    Write(0x681a, Dr7); Write(GUEST_RFLAGS, Rflags);
    Write(0x4824, 0); Write(0x4826, 0); Write(0x6822, 0);
    Write(VMCS_LINK_POINTER, ~0ULL); Write(GUEST_DEBUGCTL, ReadMsr(MSR_DEBUGCTL));
    for (ULONG i = 0; i < 3; i++) {
        ULONG64 Value = ReadMsr(MSR_SYSENTER_CS + i);

        Write(i ? 0x6c0e + 2 * i : 0x4c00, Value);
        Write(i ? 0x6822 + 2 * i : 0x482a, Value);
    }
}

/* The three words of execution controls, entry and exit controls; what is left out is 0. */
static inline VOID WriteControls(ULONG Primary, ULONG Secondary, ULONG Exceptions)
{
    static const USHORT Zero[] = {
        0x4006, 0x4008, 0x400a, 0x400e, 0x4010, 0x4014, ENTRY_EVENT, 0x2010,
        0x6000, 0x6002, 0x6004, 0x6006,
    };

    for (ULONG i = 0; i < RTL_NUMBER_OF(Zero); i++)
        Write(Zero[i], 0);
    Write(PIN_BASED, Controls(0, MSR_VMX_PINBASED));
    Write(PRIMARY, Controls(Primary | (Secondary ? 1u << 31 : 0), MSR_VMX_PROCBASED));
    if (Secondary)
        Write(SECONDARY, Controls(Secondary, MSR_VMX_PROCBASED2));
    Write(EXIT_CONTROLS, Controls(1 << 9, MSR_VMX_EXIT));
    Write(ENTRY_CONTROLS, Controls(1 << 9, MSR_VMX_ENTRY));
    Write(EXCEPTION_BITMAP, Exceptions);
}
