/* Virtualises the running system, processor by processor, and takes the hypervisor away again.

   Enter executes VMLAUNCH and returns: as guest, on the same stack. Whatever runs on the processor
   from then on is the guest, through an EPT that maps every address to itself. CPUID tells of the
   hypervisor, VMCALL counts the exits and ends it: VMXOFF in the exit handler, then a jump to where
   the guest was. Control codes: virtualise_ioctl.py. */
#include "vmx.h"

#define HOST_STACK_SIZE 0x6000
#define GIGABYTES 4 /* what EPT maps; the machine's memory and devices lie below */
#define CODE(n) CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800 + (n), METHOD_BUFFERED, FILE_ANY_ACCESS)
enum { CALL_COUNT = 0x4e540001, CALL_END = 0x4e540002, LEAF = 0x40000000 };

typedef struct {
    PVOID VmxonRegion, VmcsRegion;
    UCHAR *HostStack;
    ULONG64 Exits;
    BOOLEAN On;
    ULONG64 EndRip, EndRsp, EndRflags;
} VCPU;

typedef struct {
    ULONG64 Pml4[512], Pdpt[512], Pd[GIGABYTES][512];
} EPT;

static UNICODE_STRING DeviceName = RTL_CONSTANT_STRING(L"\\Device\\Virtualise");
static UNICODE_STRING LinkName = RTL_CONSTANT_STRING(L"\\DosDevices\\Virtualise");
static VCPU Vcpus[64];
static ULONG Processors;
static EPT *Ept;
static PVOID MsrBitmap;
static ULONG64 SystemCr3;

/* The guest's side */

static ULONG64 VmCall(ULONG64 Number)
{
    ULONG64 Result = Number;

    __asm__ volatile("vmcall" : "+a"(Result) : : "cc", "memory");
    return Result;
}

/* Returns twice over: 1 if VMLAUNCH fails, 0 as guest. */
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

/* The host's side: on the processor's host stack, interrupts off */

static VOID Inject(ULONG Vector, ULONG Type, BOOLEAN HasCode)
{
    Write(ENTRY_EVENT, 1u << 31 | HasCode << 11 | Type << 8 | Vector);
    if (HasCode)
        Write(0x4018, 0);
}

static VOID HandleCpuid(GUEST_REGISTERS *Registers)
{
    ULONG Out[4], Leaf = (ULONG)Registers->Rax;

    Cpuid(Leaf, (ULONG)Registers->Rcx, Out);
    if (Leaf == 1)
        Out[2] |= 1u << 31; /* a hypervisor is present */
    if (Leaf == LEAF) {
        Out[0] = LEAF;
        RtlCopyMemory(&Out[1], "runs below  ", 12);
    }
    Registers->Rax = Out[0];
    Registers->Rbx = Out[1];
    Registers->Rcx = Out[2];
    Registers->Rdx = Out[3];
}

static VOID HandleCrAccess(GUEST_REGISTERS *Registers)
{
    ULONG64 Qualification = Read(EXIT_QUALIFICATION);
    ULONG Number = Qualification & 0xf, Register = Qualification >> 8 & 0xf;
    /* RAX, RCX, RDX, RBX, -, RBP, RSI, RDI, R8 ... R15; RSP is in the VMCS */
    static const UCHAR Place[] = { 14, 13, 12, 11, 0, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0 };
    ULONG64 *Value = (ULONG64 *)Registers + Place[Register];

    if (Number != 3)
        return;
    if (Qualification >> 4 & 1)
        *Value = Read(GUEST_CR3);
    else
        Write(GUEST_CR3, *Value & ~(1ULL << 63));
}

/* Undo what a VM exit has loaded, so that the guest's code can go on without a hypervisor. */
static VOID End(VCPU *Vcpu)
{
    TABLE Gdt = { (USHORT)Read(0x4810), Read(0x6816) }, Idt = { (USHORT)Read(0x4812), Read(0x6818) };
    ULONG64 Cr3 = Read(GUEST_CR3);

    Vcpu->EndRip = Read(GUEST_RIP) + Read(INSTRUCTION_LENGTH);
    Vcpu->EndRsp = Read(GUEST_RSP);
    Vcpu->EndRflags = Read(GUEST_RFLAGS);
    Vcpu->On = FALSE;
    VmClear(Physical(Vcpu->VmcsRegion));
    VmxOff();
    __asm__ volatile("lgdt %0; lidt %1" : : "m"(Gdt), "m"(Idt));
    __asm__ volatile("mov %0, %%cr3" : : "r"(Cr3) : "memory");
}

/* Not 0: the guest has ended; EndRip, EndRsp and EndRflags are where to go. */
__attribute__((used)) static int HandleExit(GUEST_REGISTERS *Registers, VCPU *Vcpu)
{
    ULONG Reason = (ULONG)Read(EXIT_REASON) & 0xffff;

    Vcpu->Exits++;
    switch (Reason) {
    case EXIT_CPUID:
        HandleCpuid(Registers);
        break;
    case EXIT_VMCALL:
        if ((Read(0x4818) >> 5 & 3) == 0 && Registers->Rax == CALL_END) { /* DPL of SS */
            Registers->Rax = Vcpu->Exits;
            End(Vcpu);
            return 1;
        }
        if (Registers->Rax != CALL_COUNT) {
            Inject(6, 3, FALSE);
            return 0;
        }
        Registers->Rax = Vcpu->Exits;
        break;
    case EXIT_CR_ACCESS:
        HandleCrAccess(Registers);
        break;
    case EXIT_RDMSR:
    case EXIT_WRMSR:
        Inject(13, 3, TRUE); /* the bitmap lets all others through: no such register */
        return 0;
    case EXIT_INVD:
        __asm__ volatile("wbinvd" : : : "memory");
        break;
    case EXIT_XSETBV:
        __asm__ volatile("xsetbv" : : "c"((ULONG)Registers->Rcx), "a"((ULONG)Registers->Rax),
                         "d"((ULONG)Registers->Rdx));
        break;
    default:
        if (Reason >= EXIT_VMCALL && Reason <= EXIT_VMXON) { /* VMX is taken */
            Inject(6, 3, FALSE);
            return 0;
        }
        KeBugCheckEx(0x20001, Reason, Read(EXIT_QUALIFICATION), Read(GUEST_RIP), 0);
    }
    SkipInstruction();
    return 0;
}

/* HOST_RSP points to the processor's VCPU. */
__attribute__((naked)) static VOID ExitStub(VOID)
{
    __asm__(PUSH_REGISTERS
            "mov %rsp, %rcx\n"
            "mov 0x78(%rsp), %rdx\n"
            "sub $0x88, %rsp\n"
            "movaps %xmm0, 0x20(%rsp); movaps %xmm1, 0x30(%rsp); movaps %xmm2, 0x40(%rsp)\n"
            "movaps %xmm3, 0x50(%rsp); movaps %xmm4, 0x60(%rsp); movaps %xmm5, 0x70(%rsp)\n"
            "call HandleExit\n"
            "movaps 0x20(%rsp), %xmm0; movaps 0x30(%rsp), %xmm1; movaps 0x40(%rsp), %xmm2\n"
            "movaps 0x50(%rsp), %xmm3; movaps 0x60(%rsp), %xmm4; movaps 0x70(%rsp), %xmm5\n"
            "add $0x88, %rsp\n"
            "test %eax, %eax\n"
            "jnz 1f\n"
            POP_REGISTERS
            "vmresume\n"
            "ud2\n"
            "1: mov 0x78(%rsp), %rdx\n" /* the VCPU; offsets are asserted below */
            "mov 0x30(%rdx), %rcx\n"    /* EndRsp */
            "mov 0x38(%rdx), %rax\n"    /* EndRflags, then EndRip, on the guest's stack */
            "mov %rax, -16(%rcx)\n"
            "mov 0x28(%rdx), %rax\n"
            "mov %rax, -8(%rcx)\n"
            "sub $16, %rcx\n"
            "mov %rcx, 0x78(%rsp)\n"
            POP_REGISTERS
            "mov (%rsp), %rsp\n"
            "popfq\n"
            "ret");
}

C_ASSERT(FIELD_OFFSET(VCPU, EndRip) == 0x28 && FIELD_OFFSET(VCPU, EndRflags) == 0x38);

/* Set-up and clean-up */

static BOOLEAN Allocate(VOID)
{
    PHYSICAL_ADDRESS Highest;

    Highest.QuadPart = -1;
    Processors = KeQueryActiveProcessorCountEx(ALL_PROCESSOR_GROUPS);
    Ept = MmAllocateContiguousMemory(sizeof(EPT), Highest);
    MsrBitmap = MmAllocateContiguousMemory(PAGE_SIZE, Highest);
    for (ULONG i = 0; i < Processors; i++) {
        Vcpus[i].VmxonRegion = AllocateVmxRegion();
        Vcpus[i].VmcsRegion = AllocateVmxRegion();
        Vcpus[i].HostStack = ExAllocatePoolWithTag(NonPagedPool, HOST_STACK_SIZE, 'triV');
        if (!Vcpus[i].VmxonRegion || !Vcpus[i].VmcsRegion || !Vcpus[i].HostStack)
            return FALSE;
    }
    return Ept && MsrBitmap;
}

static VOID Free(VOID)
{
    for (ULONG i = 0; i < Processors; i++) {
        if (Vcpus[i].VmxonRegion)
            MmFreeContiguousMemory(Vcpus[i].VmxonRegion);
        if (Vcpus[i].VmcsRegion)
            MmFreeContiguousMemory(Vcpus[i].VmcsRegion);
        if (Vcpus[i].HostStack)
            ExFreePoolWithTag(Vcpus[i].HostStack, 'triV');
    }
    if (Ept)
        MmFreeContiguousMemory(Ept);
    if (MsrBitmap)
        MmFreeContiguousMemory(MsrBitmap);
}

/* Every address is itself, in pages of 2 MB, write-back: what is uncached says so in its own page
   tables, whose memory type counts below that of EPT. */
static VOID FillEpt(VOID)
{
    RtlZeroMemory(Ept, sizeof(*Ept));
    RtlZeroMemory(MsrBitmap, PAGE_SIZE);
    Ept->Pml4[0] = Physical(Ept->Pdpt) | 7;
    for (ULONG i = 0; i < GIGABYTES; i++) {
        Ept->Pdpt[i] = Physical(Ept->Pd[i]) | 7;
        for (ULONG j = 0; j < 512; j++)
            Ept->Pd[i][j] = (ULONG64)(i * 512 + j) << 21 | 0x80 | 6 << 3 | 7;
    }
}

/* On one processor, which the caller keeps. */
static NTSTATUS Start(VCPU *Vcpu)
{
    ULONG64 *Top = (ULONG64 *)(Vcpu->HostStack + HOST_STACK_SIZE - 16);

    WriteCr4(ReadCr4() | CR4_VMXE);
    if (VmxOn(Physical(Vcpu->VmxonRegion)))
        return STATUS_DEVICE_BUSY;
    if (!VmClear(Physical(Vcpu->VmcsRegion)) && !VmPtrLd(Physical(Vcpu->VmcsRegion))) {
        WriteProcessorState();
        WriteControls(1 << 28, 1 << 1 | 1 << 3 | 1 << 5 | 1 << 12 | 1 << 20, 0);
        Write(EPT_POINTER, Physical(Ept) | 3 << 3 | 6);
        Write(MSR_BITMAP, Physical(MsrBitmap));
        Write(0, 1); /* VPID */
        Write(HOST_CR3, SystemCr3);
        Write(HOST_RIP, (ULONG64)(ULONG_PTR)ExitStub);
        Write(HOST_RSP, (ULONG64)(ULONG_PTR)Top);
        *Top = (ULONG64)(ULONG_PTR)Vcpu;
        Vcpu->Exits = 0;
        Vcpu->On = TRUE;
        if (!Enter())
            return STATUS_SUCCESS;
        DbgPrint("VMLAUNCH: error %u\n", (ULONG)Read(INSTRUCTION_ERROR));
        Vcpu->On = FALSE;
        VmClear(Physical(Vcpu->VmcsRegion));
    }
    VmxOff();
    WriteCr4(ReadCr4() & ~CR4_VMXE);
    return STATUS_UNSUCCESSFUL;
}

static VOID Stop(VCPU *Vcpu)
{
    if (Vcpu->On) {
        VmCall(CALL_END);
        WriteCr4(ReadCr4() & ~CR4_VMXE);
    }
}

/* Each processor in turn, at DISPATCH_LEVEL so that the thread stays there. */
static NTSTATUS OnEach(BOOLEAN IsStart)
{
    NTSTATUS Status = STATUS_SUCCESS;

    for (ULONG i = 0; i < Processors && NT_SUCCESS(Status); i++) {
        KAFFINITY OldAffinity = KeSetSystemAffinityThreadEx((KAFFINITY)1 << i);
        KIRQL OldIrql = KeRaiseIrqlToDpcLevel();

        if (!IsStart)
            Stop(&Vcpus[i]);
        else if (!Vcpus[i].On)
            Status = Start(&Vcpus[i]);
        KeLowerIrql(OldIrql);
        KeRevertToUserAffinityThreadEx(OldAffinity);
    }
    return Status;
}

static NTSTATUS Complete(PIRP Irp, NTSTATUS Status, ULONG_PTR Information)
{
    Irp->IoStatus.Status = Status;
    Irp->IoStatus.Information = Information;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return Status;
}

static NTSTATUS CreateClose(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    return Complete(Irp, STATUS_SUCCESS, 0);
}

static NTSTATUS ReadExits(PIRP Irp, ULONG Room)
{
    ULONG64 *Counts = Irp->AssociatedIrp.SystemBuffer;

    if (Room < Processors * sizeof(ULONG64))
        return Complete(Irp, STATUS_BUFFER_TOO_SMALL, 0);
    for (ULONG i = 0; i < Processors; i++) {
        KAFFINITY OldAffinity = KeSetSystemAffinityThreadEx((KAFFINITY)1 << i);

        Counts[i] = Vcpus[i].On ? VmCall(CALL_COUNT) : 0;
        KeRevertToUserAffinityThreadEx(OldAffinity);
    }
    return Complete(Irp, STATUS_SUCCESS, Processors * sizeof(ULONG64));
}

static NTSTATUS Control(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    PIO_STACK_LOCATION Stack = IoGetCurrentIrpStackLocation(Irp);
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(DeviceObject);
    switch (Stack->Parameters.DeviceIoControl.IoControlCode) {
    case CODE(0):
        Status = OnEach(TRUE);
        if (!NT_SUCCESS(Status))
            OnEach(FALSE);
        return Complete(Irp, Status, 0);
    case CODE(1):
        return Complete(Irp, OnEach(FALSE), 0);
    case CODE(2):
        return ReadExits(Irp, Stack->Parameters.DeviceIoControl.OutputBufferLength);
    case CODE(3):
        if (Stack->Parameters.DeviceIoControl.OutputBufferLength < 4 * sizeof(ULONG))
            return Complete(Irp, STATUS_BUFFER_TOO_SMALL, 0);
        Cpuid(LEAF, 0, Irp->AssociatedIrp.SystemBuffer);
        return Complete(Irp, STATUS_SUCCESS, 4 * sizeof(ULONG));
    }
    return Complete(Irp, STATUS_INVALID_DEVICE_REQUEST, 0);
}

static VOID Unload(PDRIVER_OBJECT DriverObject)
{
    OnEach(FALSE);
    Free();
    IoDeleteSymbolicLink(&LinkName);
    IoDeleteDevice(DriverObject->DeviceObject);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    PDEVICE_OBJECT Device;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(RegistryPath);
    if (!VmxSupported())
        return STATUS_NOT_SUPPORTED;
    Status = IoCreateDevice(DriverObject, 0, &DeviceName, FILE_DEVICE_UNKNOWN,
                            FILE_DEVICE_SECURE_OPEN, FALSE, &Device);
    if (!NT_SUCCESS(Status))
        return Status;
    SystemCr3 = ReadCr3(); /* DriverEntry runs in the System process, whose tables stay */
    if (!Allocate()) {
        Free();
        IoDeleteDevice(Device);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    FillEpt();
    IoCreateSymbolicLink(&LinkName, &DeviceName);
    DriverObject->MajorFunction[IRP_MJ_CREATE] = CreateClose;
    DriverObject->MajorFunction[IRP_MJ_CLOSE] = CreateClose;
    DriverObject->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control;
    DriverObject->DriverUnload = Unload;
    return STATUS_SUCCESS;
}
