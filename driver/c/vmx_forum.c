/* The forum's hypervisor in C and assembly, as its author describes it ("IRQ level fault, VT-x", OSR
   NTDEV): driver/eh.py tells the story, userapp/ehapp.py is its app here too.

   enter_guest saves the general registers and RSP and executes VMLAUNCH, which does not return; the
   exit handler, on a stack of its own, answers CPUID, and gives an OUT to the app: it loads the
   saved RSP, and enter_guest returns 0. What no stack brings back is the IRQL and RFLAGS.IF, so the
   first EH_RUN ends in 0x4A. vmx_forum_fixed.c is this file with FIXED defined, which puts both
   right, keeps to the vcpu's processor and makes its VMCS current again before it resumes. */
#include "vmx.h"

#ifdef FIXED
#define IS_FIXED TRUE
#else
#define IS_FIXED FALSE
#endif

#define HOST_STACK_SIZE 0x6000
#define GUEST_STACK_SIZE 0x1000
#define TAG 'cVhE'
#define EH_RUN CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_IN_DIRECT, \
                        FILE_READ_ACCESS | FILE_WRITE_ACCESS)
#define EH_GET_EXIT CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_BUFFERED, FILE_READ_ACCESS)

typedef enum { VcpuClear, VcpuLaunched, VcpuOffAndDirty } VCPU_STATE;

typedef struct {
    ULONG Reason, Offset;
    USHORT Port;
    UCHAR Size, In;
    ULONG Value;
    ULONG64 Rax;
} EH_EXIT;

typedef struct {
    GUEST_REGISTERS Registers; /* enter_guest knows that these two come first */
    ULONG64 SavedRsp;
    VCPU_STATE State;
    ULONG Processor;
    KIRQL OldIrql;
    TABLE Gdt, Idt; /* as they were before a VM exit */
    PVOID Code;
    PVOID VmxonRegion, VmcsRegion;
    UCHAR *HostStack, *GuestStack;
    EH_EXIT Exit;
} VCPU;

static UNICODE_STRING DeviceName = RTL_CONSTANT_STRING(L"\\Device\\EHDriver");
static UNICODE_STRING LinkName = RTL_CONSTANT_STRING(L"\\DosDevices\\EHDriver");
static VCPU *Loaded[64]; /* by processor */

/* The forum's two routines */

/* 1 if VMLAUNCH (VMRESUME) itself came back; 0 when pass_control_to_usermode has come here. */
__attribute__((naked)) static int enter_guest(VCPU *Vcpu, BOOLEAN Resume)
{
    __asm__(PUSH_REGISTERS
            "mov %rsp, 0x78(%rcx)\n"
            "test %dl, %dl\n" /* MOV leaves the flags alone */
            "mov 0x00(%rcx), %r15; mov 0x08(%rcx), %r14; mov 0x10(%rcx), %r13\n"
            "mov 0x18(%rcx), %r12; mov 0x20(%rcx), %r11; mov 0x28(%rcx), %r10\n"
            "mov 0x30(%rcx), %r9; mov 0x38(%rcx), %r8; mov 0x40(%rcx), %rdi\n"
            "mov 0x48(%rcx), %rsi; mov 0x50(%rcx), %rbp; mov 0x58(%rcx), %rbx\n"
            "mov 0x60(%rcx), %rdx; mov 0x70(%rcx), %rax; mov 0x68(%rcx), %rcx\n"
            "jnz 1f\n"
            "vmlaunch\n"
            "jmp 2f\n"
            "1: vmresume\n"
            "2: " POP_REGISTERS
            "xor %rax, %rax\n"
            "inc %rax\n"
            "ret");
}

C_ASSERT(FIELD_OFFSET(VCPU, SavedRsp) == 0x78);

__attribute__((naked)) static VOID pass_control_to_usermode(ULONG64 SavedRsp)
{
    __asm__("mov %rcx, %rsp\n"
            POP_REGISTERS
            "xor %rax, %rax\n"
            "ret");
}

/* Exits */

static VOID RecordExit(VCPU *Vcpu, GUEST_REGISTERS *Registers, ULONG Reason)
{
    EH_EXIT *Exit = &Vcpu->Exit;
    ULONG64 Qualification = Read(EXIT_QUALIFICATION);

    RtlZeroMemory(Exit, sizeof(*Exit));
    Exit->Reason = Reason;
    Exit->Offset = (ULONG)(Read(GUEST_RIP) - (ULONG64)(ULONG_PTR)Vcpu->Code);
    Exit->Rax = Registers->Rax;
    if (Reason != EXIT_IO)
        return;
    Exit->Size = (Qualification & 7) + 1;
    Exit->In = Qualification >> 3 & 1;
    Exit->Port = (USHORT)(Qualification >> 16);
    if (!Exit->In)
        Exit->Value = (ULONG)(Registers->Rax & ((1ULL << 8 * Exit->Size) - 1));
}

/* On the vcpu's host stack, interrupts off. Returning resumes the guest. */
__attribute__((used)) static VOID ExitHandler(GUEST_REGISTERS *Registers)
{
    VCPU *Vcpu = Loaded[KeGetCurrentProcessorNumberEx(NULL)];
    ULONG Out[4], Reason = (ULONG)Read(EXIT_REASON);

    if (Reason == EXIT_CPUID) {
        Cpuid((ULONG)Registers->Rax, (ULONG)Registers->Rcx, Out);
        Registers->Rax = Out[0];
        Registers->Rbx = Out[1];
        Registers->Rcx = Out[2];
        Registers->Rdx = Out[3];
        SkipInstruction();
        return;
    }
    RecordExit(Vcpu, Registers, Reason);
    Vcpu->Registers = *Registers;
    if (Reason == EXIT_IO)
        SkipInstruction();
    else
        Vcpu->State = VcpuOffAndDirty; /* HLT, or something that is not virtualised here */
    pass_control_to_usermode(Vcpu->SavedRsp);
}

__attribute__((naked)) static VOID ExitStub(VOID)
{
    __asm__(PUSH_REGISTERS
            "mov %rsp, %rcx\n"
            "sub $0x28, %rsp\n"
            "call ExitHandler\n"
            "add $0x28, %rsp\n"
            POP_REGISTERS
            "vmresume\n"
            "ud2");
}

/* The vcpu on its processor; the caller keeps the thread there */

static int LoadVcpu(VCPU *Vcpu, PVOID Code)
{
    ULONG Number = KeGetCurrentProcessorNumberEx(NULL);

    StoreTables(&Vcpu->Gdt, &Vcpu->Idt);
    if (Loaded[Number])
        return 1;
    WriteCr4(ReadCr4() | CR4_VMXE);
    if (VmxOn(Physical(Vcpu->VmxonRegion)))
        return 1;
    Loaded[Number] = Vcpu;
    Vcpu->Processor = Number;
    Vcpu->State = VcpuLaunched;
    if (VmClear(Physical(Vcpu->VmcsRegion)) || VmPtrLd(Physical(Vcpu->VmcsRegion)))
        return 1;
    WriteProcessorState();
    WriteControls(1 << 7 | 1 << 24, 0, ~0u); /* HLT, all port I/O, all exceptions leave the guest */
    Write(HOST_RIP, (ULONG64)(ULONG_PTR)ExitStub);
    Write(HOST_RSP, (ULONG64)(ULONG_PTR)Vcpu->HostStack + HOST_STACK_SIZE - 8);
    Write(GUEST_RIP, (ULONG64)(ULONG_PTR)Code);
    Write(GUEST_RSP, (ULONG64)(ULONG_PTR)Vcpu->GuestStack + GUEST_STACK_SIZE - 16);
    Write(GUEST_RFLAGS, 2);
    return 0;
}

static VOID StopVcpu(VCPU *Vcpu)
{
    Vcpu->State = VcpuOffAndDirty;
    if (Loaded[Vcpu->Processor] != Vcpu)
        return;
    Loaded[Vcpu->Processor] = NULL;
    VmClear(Physical(Vcpu->VmcsRegion));
    VmxOff();
    WriteCr4(ReadCr4() & ~CR4_VMXE);
}

static VOID StopOnItsProcessor(VCPU *Vcpu)
{
    KAFFINITY OldAffinity = KeSetSystemAffinityThreadEx((KAFFINITY)1 << Vcpu->Processor);
    KIRQL OldIrql = KeRaiseIrqlToDpcLevel();

    StopVcpu(Vcpu);
    KeLowerIrql(OldIrql);
    KeRevertToUserAffinityThreadEx(OldAffinity);
}

/* What every way out of the guest has to put right; the forum's driver does it at the guest's end. */
static VOID AfterGuest(VCPU *Vcpu, int Failed)
{
    BOOLEAN Ended = Failed || Vcpu->State == VcpuOffAndDirty;

    if (IS_FIXED) /* RFLAGS is 2 after a VM exit, the limits of GDT and IDT 0xffff */
        __asm__ volatile("lgdt %0; lidt %1; sti" : : "m"(Vcpu->Gdt), "m"(Vcpu->Idt));
    if (Ended)
        StopVcpu(Vcpu);
    if (Ended || IS_FIXED)
        KeLowerIrql(Vcpu->OldIrql);
}

static int RunVcpu(VCPU *Vcpu, PVOID Code)
{
    int Failed;

    Vcpu->OldIrql = KeRaiseIrqlToDpcLevel();
    Failed = LoadVcpu(Vcpu, Code) || enter_guest(Vcpu, FALSE);
    AfterGuest(Vcpu, Failed);
    return Failed;
}

static int ResumeVcpu(VCPU *Vcpu)
{
    int Failed = 0;

    if (IS_FIXED) {
        Vcpu->OldIrql = KeRaiseIrqlToDpcLevel();
        Failed = VmPtrLd(Physical(Vcpu->VmcsRegion)) || Write(HOST_CR3, ReadCr3())
            || Write(GUEST_CR3, ReadCr3());
    }
    if (!Failed)
        Failed = enter_guest(Vcpu, TRUE);
    AfterGuest(Vcpu, Failed);
    return Failed;
}

/* The device */

static VCPU *VcpuOf(PIRP Irp)
{
    return IoGetCurrentIrpStackLocation(Irp)->FileObject->FsContext;
}

static NTSTATUS Complete(PIRP Irp, NTSTATUS Status)
{
    Irp->IoStatus.Status = Status;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return Status;
}

static VOID FreeVcpu(VCPU *Vcpu)
{
    if (Vcpu->VmxonRegion)
        MmFreeContiguousMemory(Vcpu->VmxonRegion);
    if (Vcpu->VmcsRegion)
        MmFreeContiguousMemory(Vcpu->VmcsRegion);
    if (Vcpu->HostStack)
        ExFreePoolWithTag(Vcpu->HostStack, TAG);
    if (Vcpu->GuestStack)
        ExFreePoolWithTag(Vcpu->GuestStack, TAG);
    if (Vcpu->Code)
        ExFreePoolWithTag(Vcpu->Code, TAG);
    ExFreePoolWithTag(Vcpu, TAG);
}

static NTSTATUS Create(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    VCPU *Vcpu = ExAllocatePoolWithTag(NonPagedPool, sizeof(*Vcpu), TAG);

    UNREFERENCED_PARAMETER(DeviceObject);
    Irp->IoStatus.Information = 0;
    if (!Vcpu)
        return Complete(Irp, STATUS_INSUFFICIENT_RESOURCES);
    RtlZeroMemory(Vcpu, sizeof(*Vcpu));
    Vcpu->Processor = KeGetCurrentProcessorNumberEx(NULL);
    Vcpu->VmxonRegion = AllocateVmxRegion();
    Vcpu->VmcsRegion = AllocateVmxRegion();
    Vcpu->HostStack = ExAllocatePoolWithTag(NonPagedPool, HOST_STACK_SIZE, TAG);
    Vcpu->GuestStack = ExAllocatePoolWithTag(NonPagedPool, GUEST_STACK_SIZE, TAG);
    if (!Vcpu->VmxonRegion || !Vcpu->VmcsRegion || !Vcpu->HostStack || !Vcpu->GuestStack) {
        FreeVcpu(Vcpu);
        return Complete(Irp, STATUS_INSUFFICIENT_RESOURCES);
    }
    IoGetCurrentIrpStackLocation(Irp)->FileObject->FsContext = Vcpu;
    return Complete(Irp, STATUS_SUCCESS);
}

static NTSTATUS Cleanup(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    VCPU *Vcpu = VcpuOf(Irp);

    UNREFERENCED_PARAMETER(DeviceObject);
    if (Vcpu->State == VcpuLaunched)
        StopOnItsProcessor(Vcpu);
    return Complete(Irp, STATUS_SUCCESS);
}

static NTSTATUS Close(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    FreeVcpu(VcpuOf(Irp));
    return Complete(Irp, STATUS_SUCCESS);
}

static NTSTATUS FirstRun(PIRP Irp, VCPU *Vcpu)
{
    PIO_STACK_LOCATION Stack = IoGetCurrentIrpStackLocation(Irp);
    ULONG Length = Stack->Parameters.DeviceIoControl.InputBufferLength;

    if (!Length)
        return STATUS_INVALID_PARAMETER;
    Vcpu->Code = ExAllocatePoolWithTag(NonPagedPool, Length, TAG);
    if (!Vcpu->Code)
        return STATUS_INSUFFICIENT_RESOURCES;
    RtlCopyMemory(Vcpu->Code, Irp->AssociatedIrp.SystemBuffer, Length);
    if (RunVcpu(Vcpu, Vcpu->Code))
        return STATUS_UNSUCCESSFUL;
    Irp->IoStatus.Information = Length;
    return STATUS_SUCCESS;
}

static NTSTATUS Run(PIRP Irp)
{
    VCPU *Vcpu = VcpuOf(Irp);
    KAFFINITY OldAffinity = 0;
    NTSTATUS Status;

    if (Vcpu->State == VcpuClear)
        return FirstRun(Irp, Vcpu);
    if (Vcpu->State != VcpuLaunched)
        return STATUS_UNSUCCESSFUL;
    if (IS_FIXED)
        OldAffinity = KeSetSystemAffinityThreadEx((KAFFINITY)1 << Vcpu->Processor);
    Status = ResumeVcpu(Vcpu) ? STATUS_UNSUCCESSFUL : STATUS_SUCCESS;
    if (IS_FIXED)
        KeRevertToUserAffinityThreadEx(OldAffinity);
    return Status;
}

static NTSTATUS GetExit(PIRP Irp)
{
    PIO_STACK_LOCATION Stack = IoGetCurrentIrpStackLocation(Irp);

    if (Stack->Parameters.DeviceIoControl.OutputBufferLength < sizeof(EH_EXIT))
        return STATUS_BUFFER_TOO_SMALL;
    RtlCopyMemory(Irp->AssociatedIrp.SystemBuffer, &VcpuOf(Irp)->Exit, sizeof(EH_EXIT));
    Irp->IoStatus.Information = sizeof(EH_EXIT);
    return STATUS_SUCCESS;
}

static NTSTATUS Control(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    ULONG Code = IoGetCurrentIrpStackLocation(Irp)->Parameters.DeviceIoControl.IoControlCode;

    UNREFERENCED_PARAMETER(DeviceObject);
    Irp->IoStatus.Information = 0;
    if (Code == EH_RUN)
        return Complete(Irp, Run(Irp));
    if (Code == EH_GET_EXIT)
        return Complete(Irp, GetExit(Irp));
    return Complete(Irp, STATUS_INVALID_DEVICE_REQUEST);
}

static VOID Unload(PDRIVER_OBJECT DriverObject)
{
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
    IoCreateSymbolicLink(&LinkName, &DeviceName);
    DriverObject->MajorFunction[IRP_MJ_CREATE] = Create;
    DriverObject->MajorFunction[IRP_MJ_CLEANUP] = Cleanup;
    DriverObject->MajorFunction[IRP_MJ_CLOSE] = Close;
    DriverObject->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control;
    DriverObject->DriverUnload = Unload;
    return STATUS_SUCCESS;
}
