/* Instructions of a driver that a hypervisor may want to see: MOV DR, INVPCID, VMFUNC, VMREAD and
   VMWRITE. First without one, then as the guest of a small one on this processor.

   The guest has two EPTs to switch between, the second of which shows another page at one address,
   and a shadow VMCS. Source: SDM 2, the reference of each instruction; SDM 3, "VM Functions",
   "VMCS Types: Ordinary and Shadow". */
#include "vmx.h"

#define GIGABYTES 4
#define VMFUNC ".byte 0x0f, 0x01, 0xd4"
enum {
    VM_FUNCTION_CONTROL = 0x2018, EPTP_LIST = 0x2024, VMREAD_BITMAP = 0x2026,
    VMWRITE_BITMAP = 0x2028, TSC_OFFSET = 0x2010, PAT = 0x2804, CALL_END = 0x4e540002,
    EXIT_VMREAD = 23, EXIT_VMWRITE = 25, EXIT_MOV_DR = 29, EXIT_INVPCID = 58, EXIT_VMFUNC = 59,
};

typedef struct { ULONG64 Pml4[512], Pdpt[512], Pd[GIGABYTES][512], Pt[512]; } EPT;
typedef struct { ULONG64 Pcid, Address; } INVPCID_DESCRIPTOR;
typedef struct { ULONG Reason; ULONG64 Qualification; } SEEN;

ULONG64 EndRip, EndRsp, EndRflags;
static SEEN Log[16];
static ULONG Exits;
static UCHAR HostStack[0x6000] __attribute__((aligned(16)));

/* The instructions */

#define DEBUG_REGISTER(n) \
    static ULONG64 ReadDr##n(VOID) \
    { \
        ULONG64 Value; \
        __asm__ volatile("mov %%dr" #n ", %0" : "=r"(Value)); \
        return Value; \
    } \
    static VOID WriteDr##n(ULONG64 Value) { __asm__ volatile("mov %0, %%dr" #n : : "r"(Value)); }
DEBUG_REGISTER(0)
DEBUG_REGISTER(3)
DEBUG_REGISTER(6)
DEBUG_REGISTER(7)

static ULONG64 ReadDr4(VOID)
{
    ULONG64 Value;

    __asm__ volatile(".byte 0x0f, 0x21, 0xe0" : "=a"(Value)); /* mov %dr4, %rax */
    return Value;
}

static VOID Invpcid(ULONG64 Type, ULONG64 Pcid, ULONG64 Address)
{
    INVPCID_DESCRIPTOR Descriptor = { Pcid, Address };

    __asm__ volatile("invpcid %1, %0" : : "r"(Type), "m"(Descriptor) : "memory");
}

static VOID VmFunc(ULONG Function, ULONG Argument)
{
    __asm__ volatile(VMFUNC : : "a"(Function), "c"(Argument) : "memory");
}

/* 0: it succeeded; 1: VMfailInvalid; 2: VMfailValid */
static ULONG ReadField(ULONG64 Field, ULONG64 *Value)
{
    UCHAR Carry, Zero;

    __asm__ volatile("vmread %3, %2; setc %0; setz %1"
                     : "=q"(Carry), "=q"(Zero), "+m"(*Value) : "r"(Field) : "cc");
    return Carry ? 1 : Zero ? 2 : 0;
}

static ULONG WriteField(ULONG64 Field, ULONG64 Value)
{
    UCHAR Carry, Zero;

    __asm__ volatile("vmwrite %2, %3; setc %0; setz %1"
                     : "=q"(Carry), "=q"(Zero) : "m"(Value), "r"(Field) : "cc");
    return Carry ? 1 : Zero ? 2 : 0;
}

/* Not as a guest: what each does, and the status that it raises */

#define STATUS_OF(Work) \
    ({ \
        NTSTATUS Raised = STATUS_SUCCESS; \
        __try { Work; } __except (EXCEPTION_EXECUTE_HANDLER) { Raised = GetExceptionCode(); } \
        Raised; \
    })

static VOID DebugRegisters(VOID)
{
    ULONG64 Old6 = ReadDr6(), Old7 = ReadDr7();

    WriteDr0(0xfffff80012345678);
    WriteDr3(~0ULL);
    WriteDr6(0);
    DbgPrint("DR0 %I64x, DR3 %I64x, DR6 %I64x\n", ReadDr0(), ReadDr3(), ReadDr6());
    WriteDr7(0);
    DbgPrint("DR7 %I64x; was %I64x\n", ReadDr7(), Old7);
    DbgPrint("DR4 with CR4.DE: %x\n", STATUS_OF(ReadDr4()));
    DbgPrint("DR6 above 32 bits: %x\n", STATUS_OF(WriteDr6(1ULL << 32)));
    DbgPrint("DR7 above 32 bits: %x\n", STATUS_OF(WriteDr7(1ULL << 40)));
    WriteDr0(0);
    WriteDr3(0);
    WriteDr6(Old6);
    WriteDr7(Old7);
}

static VOID InvalidatePcids(VOID)
{
    for (ULONG Type = 0; Type < 4; Type++)
        DbgPrint("INVPCID %u: %x\n", Type, STATUS_OF(Invpcid(Type, 0, (ULONG64)(ULONG_PTR)Log)));
    DbgPrint("INVPCID 4: %x\n", STATUS_OF(Invpcid(4, 0, 0)));
    DbgPrint("INVPCID, reserved: %x\n", STATUS_OF(Invpcid(2, 0x1000, 0)));
    DbgPrint("INVPCID of a PCID: %x\n", STATUS_OF(Invpcid(1, 5, 0)));
    DbgPrint("INVPCID, not canonical: %x\n", STATUS_OF(Invpcid(0, 0, 1ULL << 60)));
    DbgPrint("INVPCID of one context, any address: %x\n", STATUS_OF(Invpcid(1, 0, 1ULL << 60)));
}

/* The host's side */

__attribute__((naked)) static int Enter(VOID)
{
    __asm__(PUSH_NONVOLATILE
            "mov $0x681c, %eax; vmwrite %rsp, %rax\n"
            "lea 1f(%rip), %rdx\n"
            "mov $0x681e, %eax; vmwrite %rdx, %rax\n"
            "vmlaunch\n"
            "mov $1, %eax\n"
            "jmp 2f\n"
            "1: xor %eax, %eax\n"
            "2: " POP_NONVOLATILE
            "ret");
}

/* Not 0: the guest has ended. Every other exit is noted, and its instruction left out. */
__attribute__((used)) static int HandleExit(GUEST_REGISTERS *Registers)
{
    ULONG Reason = (ULONG)Read(EXIT_REASON) & 0xffff;
    TABLE Gdt, Idt;

    SkipInstruction();
    if (Reason == EXIT_CPUID)
        return 0;
    if (Reason != EXIT_VMCALL || Registers->Rax != CALL_END) {
        SEEN *Seen = &Log[Exits++ & 15];

        Seen->Reason = Reason;
        Seen->Qualification = Read(EXIT_QUALIFICATION);
        return 0;
    }
    EndRip = Read(GUEST_RIP);
    EndRsp = Read(GUEST_RSP);
    EndRflags = Read(GUEST_RFLAGS);
    Gdt = (TABLE){ (USHORT)Read(0x4810), Read(0x6816) };
    Idt = (TABLE){ (USHORT)Read(0x4812), Read(0x6818) };
    VmxOff();
    __asm__ volatile("lgdt %0; lidt %1" : : "m"(Gdt), "m"(Idt));
    return 1;
}

__attribute__((naked)) static VOID ExitStub(VOID)
{
    __asm__(PUSH_REGISTERS
            "mov %rsp, %rcx\n"
            "sub $0x28, %rsp\n"
            "call HandleExit\n"
            "add $0x28, %rsp\n"
            "test %eax, %eax\n"
            "jnz 1f\n"
            POP_REGISTERS
            "vmresume\n"
            "ud2\n"
            "1: " POP_REGISTERS
            "mov EndRsp(%rip), %rsp\n"
            "push EndRip(%rip)\n"
            "push EndRflags(%rip)\n"
            "popfq\n"
            "ret");
}

static VOID FillEpt(EPT *Ept)
{
    RtlZeroMemory(Ept, sizeof(*Ept));
    Ept->Pml4[0] = Physical(Ept->Pdpt) | 7;
    for (ULONG i = 0; i < GIGABYTES; i++) {
        Ept->Pdpt[i] = Physical(Ept->Pd[i]) | 7;
        for (ULONG j = 0; j < 512; j++)
            Ept->Pd[i][j] = (ULONG64)(i * 512 + j) << 21 | 0x80 | 6 << 3 | 7;
    }
}

/* One page of an EPT shows what lies in another. */
static VOID Redirect(EPT *Ept, ULONG64 Page, ULONG64 To)
{
    ULONG64 Large = Page >> 21;

    for (ULONG i = 0; i < 512; i++)
        Ept->Pt[i] = (Large << 21 | (ULONG64)i << 12) | 6 << 3 | 7;
    Ept->Pt[Page >> 12 & 511] = To | 6 << 3 | 7;
    Ept->Pd[Large >> 9][Large & 511] = Physical(Ept->Pt) | 7;
}

static ULONG64 EptPointer(EPT *Ept)
{
    return Physical(Ept) | 3 << 3 | 6;
}

static PVOID Pages(SIZE_T Size)
{
    PHYSICAL_ADDRESS Highest;
    PVOID Made;

    Highest.QuadPart = -1;
    Made = MmAllocateContiguousMemory(Size, Highest);
    RtlZeroMemory(Made, Size);
    return Made;
}

/* The guest's side */

typedef struct {
    CHAR First, Switched, Back;
    ULONG SwitchExits, ShadowRead, ShadowWrite, ReadOnly, ShadowExits;
    ULONG64 Offset, Written, Dr0;
} RESULTS;

static VOID AsGuest(RESULTS *r, volatile CHAR *Page)
{
    r->First = *Page;
    VmFunc(0, 1);
    r->Switched = *Page;
    VmFunc(0, 0);
    r->Back = *Page;
    r->SwitchExits = Exits;
    r->ShadowRead = ReadField(TSC_OFFSET, &r->Offset);
    r->ShadowWrite = WriteField(TSC_OFFSET, 0x5678);
    ReadField(TSC_OFFSET, &r->Written);
    r->ReadOnly = WriteField(EXIT_REASON, 1);
    r->ShadowExits = Exits - r->SwitchExits;
    ReadField(PAT, &r->Dr0); /* from here on the host sees them */
    WriteField(PAT, 0);
    VmFunc(0, 5);
    VmFunc(1, 0);
    WriteDr3(0x1234);
    r->Dr0 = ReadDr0();
    Invpcid(2, 0, 0);
}

static VOID Guest(VOID)
{
    EPT *Plain = Pages(sizeof(EPT)), *Other = Pages(sizeof(EPT));
    ULONG *Vmxon = AllocateVmxRegion(), *Vmcs = AllocateVmxRegion(), *Shadow = AllocateVmxRegion();
    ULONG64 *List = Pages(PAGE_SIZE);
    UCHAR *Bitmap = Pages(PAGE_SIZE);
    CHAR *One = Pages(PAGE_SIZE), *Two = Pages(PAGE_SIZE);
    RESULTS r = { 0 };
    ULONG64 Cr4, Left = 0;
    ULONG Result = CALL_END;
    KIRQL Old;

    *One = 'A';
    *Two = 'B';
    FillEpt(Plain);
    FillEpt(Other);
    Redirect(Other, Physical(One), Physical(Two));
    List[0] = EptPointer(Plain);
    List[1] = EptPointer(Other);
    RtlFillMemory(Bitmap, PAGE_SIZE, 0xff);
    Bitmap[TSC_OFFSET >> 3] &= ~(1 << (TSC_OFFSET & 7));
    Bitmap[EXIT_REASON >> 3] &= ~(1 << (EXIT_REASON & 7));
    Shadow[0] |= 1u << 31;

    KeRaiseIrql(DISPATCH_LEVEL, &Old);
    Cr4 = ReadCr4();
    WriteCr4(Cr4 | CR4_VMXE);
    if (VmxOn(Physical(Vmxon)) || VmClear(Physical(Shadow)) || VmPtrLd(Physical(Shadow)))
        DbgPrint("no shadow VMCS\n");
    Write(TSC_OFFSET, 0x1234);
    VmClear(Physical(Shadow));
    VmClear(Physical(Vmcs));
    VmPtrLd(Physical(Vmcs));
    WriteProcessorState();
    /* INVLPG and MOV-DR exiting; EPT, RDTSCP, INVPCID, VM functions, shadowing, XSAVES */
    WriteControls(1 << 9 | 1 << 23, 1 << 1 | 1 << 3 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 20, 0);
    Write(EPT_POINTER, List[0]);
    Write(VM_FUNCTION_CONTROL, 1);
    Write(EPTP_LIST, Physical(List));
    Write(VMREAD_BITMAP, Physical(Bitmap));
    Write(VMWRITE_BITMAP, Physical(Bitmap));
    Write(VMCS_LINK_POINTER, Physical(Shadow));
    Write(HOST_RIP, (ULONG64)(ULONG_PTR)ExitStub);
    Write(HOST_RSP, (ULONG64)(ULONG_PTR)HostStack + sizeof(HostStack));
    if (Enter()) {
        DbgPrint("VMLAUNCH: error %u\n", (ULONG)Read(INSTRUCTION_ERROR));
        VmxOff();
    } else {
        AsGuest(&r, One);
        __asm__ volatile("vmcall" : "+a"(Result) : : "cc", "memory");
    }
    VmxOn(Physical(Vmxon)); /* what the guest has left in its shadow VMCS */
    VmPtrLd(Physical(Shadow));
    ReadField(TSC_OFFSET, &Left);
    VmClear(Physical(Shadow));
    VmxOff();
    WriteCr4(Cr4);
    KeLowerIrql(Old);
    DbgPrint("EPT switched: %c %c %c, %u exits\n", r.First, r.Switched, r.Back, r.SwitchExits);
    DbgPrint("shadow VMCS: read %u %I64x, write %u %I64x, read-only %u, %u exits, left %I64x\n",
             r.ShadowRead, r.Offset, r.ShadowWrite, r.Written, r.ReadOnly, r.ShadowExits, Left);
    for (ULONG i = 0; i < Exits; i++)
        if (Log[i].Reason == EXIT_MOV_DR) /* which, and which way; the register is the compiler's */
            DbgPrint("exit %u: DR%d, %s\n", Log[i].Reason, (int)Log[i].Qualification & 7,
                     Log[i].Qualification & 16 ? "read" : "written");
        else
            DbgPrint("exit %u\n", Log[i].Reason);
    MmFreeContiguousMemory(Plain);
    MmFreeContiguousMemory(Other);
    MmFreeContiguousMemory(Vmxon);
    MmFreeContiguousMemory(Vmcs);
    MmFreeContiguousMemory(Shadow);
    MmFreeContiguousMemory(List);
    MmFreeContiguousMemory(Bitmap);
    MmFreeContiguousMemory(One);
    MmFreeContiguousMemory(Two);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    DebugRegisters();
    InvalidatePcids();
    DbgPrint("VMFUNC: %x\n", STATUS_OF(VmFunc(0, 0)));
    DbgPrint("VMREAD: %x\n", STATUS_OF(Read(EXIT_REASON)));
    Guest();
    return STATUS_SUCCESS;
}
