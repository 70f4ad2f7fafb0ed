"""The exit handler: one routine for each exit reason. Interrupts are off in all of it.

It may use memory that is resident, the VMCS and the guest's registers, and calls no routine of the
kernel: the guest may be anywhere, also in the middle of that very routine, holding its lock. What
an app is to hear of is noted in a ring (monitor.py), for a DPC to deliver.
"""

from driver.hypervisor.fields import *
from driver.hypervisor.hidden import HandleException
from driver.hypervisor.hooks import HandleEptViolation, HandleTrapFlag
from driver.hypervisor.monitor import Note
from driver.hypervisor.services import SERVICE_OFF, Serve
from driver.hypervisor.unexpected import HandleUnexpected
from driver.hypervisor.vcpu import CurrentVcpu
from driver.vmcs_setup import DESCRIPTOR_TABLE_REGISTER
from driver.vmx_guest import skip_instruction, vmread
from ntsim.intrin import *
from ntsim.wdm import *

HV_CPUID_LEAF = 0x40000000
SIGNATURE = b"ntsim HFS ht"  # twelve characters, as hypervisors give them in EBX, ECX, EDX
ADDRESSES = (0x175, 0x176, 0xC0000082, 0xC0000083, 0xC0000100, 0xC0000101, 0xC0000102)  # in MSRs
CPUID_1_ECX_HYPERVISOR = 1 << 31
LOW_32 = 0xFFFFFFFF


def ExitHandler(regs) -> None:
    """HOST_RIP. Returning resumes the guest."""
    Vcpu = CurrentVcpu()
    Vcpu.Exits += 1
    Handler = HANDLERS.get(vmread(VM_EXIT_REASON) & 0xFFFF, HandleUnexpected)
    Handler(regs, Vcpu)


def HandleCpuid(regs, Vcpu) -> None:
    Leaf = regs.Rax & LOW_32
    if Leaf == HV_CPUID_LEAF:
        regs.Rax, Names = HV_CPUID_LEAF, [SIGNATURE[i : i + 4] for i in (0, 4, 8)]
        regs.Rbx, regs.Rcx, regs.Rdx = (int.from_bytes(Name, "little") for Name in Names)
    else:
        regs.Rax, regs.Rbx, regs.Rcx, regs.Rdx = __cpuid(Leaf, regs.Rcx & LOW_32)
        if Leaf == 1:
            regs.Rcx |= CPUID_1_ECX_HYPERVISOR
    skip_instruction()


def HandleVmcall(regs, Vcpu) -> None:
    """VMCALL exits from user mode too: that is refused, as an invalid opcode. CPL is SS's DPL."""
    if vmread(GUEST_SS_AR_BYTES) >> 5 & 3:
        __vmx_vmwrite(VM_ENTRY_INTR_INFO_FIELD, INJECT_UD)
        return
    if regs.Rcx == SERVICE_OFF:
        TurnOff(regs, Vcpu)
    regs.Rax = Serve(regs.Rcx, regs.Rdx)
    skip_instruction()


def TurnOff(regs, Vcpu) -> None:
    """Leave VMX operation and go on where the guest was. Does not return.

    What the exit changed has to be put back: CR3, the limits of GDTR and IDTR, and RFLAGS.IF.
    """
    Rip, Rsp = vmread(GUEST_RIP) + vmread(VM_EXIT_INSTRUCTION_LEN), vmread(GUEST_RSP)
    Cr3, Rflags = vmread(GUEST_CR3), vmread(GUEST_RFLAGS)
    Gdt = TableRegister(GUEST_GDTR_LIMIT, GUEST_GDTR_BASE)
    Idt = TableRegister(GUEST_IDTR_LIMIT, GUEST_IDTR_BASE)
    __vmx_vmclear(Vcpu.Vmcs)
    __vmx_off()
    __writecr3(Cr3)
    _lgdt(Gdt)
    __lidt(Idt)
    if Rflags & RFLAGS_IF:
        _enable()
    regs.Rax = STATUS_SUCCESS
    continue_at(Rip, Rsp)


def TableRegister(LimitField, BaseField):
    """What LGDT and LIDT load, from the guest's."""
    Register = DESCRIPTOR_TABLE_REGISTER()
    Register.Limit = vmread(LimitField)
    write_bytes(Register.Base, vmread(BaseField).to_bytes(8, "little"))
    return Register


def HandleRdmsr(regs, Vcpu) -> None:
    """Watched, or outside the ranges of the bitmap: there is none such, so #GP in the guest."""
    Register = regs.Rcx & LOW_32
    if IsOutside(Register):
        InjectGp()
        return
    Value = __readmsr(Register)
    regs.Rax, regs.Rdx = Value & LOW_32, Value >> 32
    Note(Vcpu, EXIT_REASON_MSR_READ, Register, Value)
    skip_instruction()


def HandleWrmsr(regs, Vcpu) -> None:
    Register = regs.Rcx & LOW_32
    Value = (regs.Rdx & LOW_32) << 32 | regs.Rax & LOW_32
    if IsOutside(Register) or (Register in ADDRESSES and not IsCanonical(Value)):
        InjectGp()  # executed here it would be our #GP, and nobody handles that
        return
    __writemsr(Register, Value)
    Note(Vcpu, EXIT_REASON_MSR_WRITE, Register, Value)
    skip_instruction()


def IsOutside(Register) -> bool:
    return not (Register < 0x2000 or 0xC0000000 <= Register < 0xC0002000)


def IsCanonical(Address) -> bool:
    """Bits 63:47 are all the same."""
    return Address >> 47 in (0, 0x1FFFF)


def InjectGp() -> None:
    """The guest's instruction faults, as it would have without us."""
    __vmx_vmwrite(VM_ENTRY_INTR_INFO_FIELD, INJECT_GP)
    __vmx_vmwrite(VM_ENTRY_EXCEPTION_ERROR_CODE, 0)


def HandleIo(regs, Vcpu) -> None:
    """A watched port. Bits 2:0 of the qualification: size less one; 3: IN; 31:16: port."""
    Qualification = vmread(EXIT_QUALIFICATION)
    Port, Size = Qualification >> 16 & 0xFFFF, (Qualification & 7) + 1
    if Qualification & 8:
        Read = {1: __inbyte, 2: __inword, 4: __indword}[Size]
        Kept = regs.Rax & ~((1 << 8 * Size) - 1) if Size < 4 else 0
        regs.Rax = Kept | Read(Port)
    else:
        Write = {1: __outbyte, 2: __outword, 4: __outdword}[Size]
        Write(Port, regs.Rax & (1 << 8 * Size) - 1)
    Note(Vcpu, EXIT_REASON_IO_INSTRUCTION, Qualification, regs.Rax)
    skip_instruction()


def HandleVmxInstruction(regs, Vcpu) -> None:
    """No hypervisor inside: VMfailInvalid, which says "not now" to who can handle it."""
    __vmx_vmwrite(GUEST_RFLAGS, vmread(GUEST_RFLAGS) | RFLAGS_CF)
    skip_instruction()


def HandleControlRegister(regs, Vcpu) -> None:
    """MOV to CR3, where a driver or the processor wants the exit. Bits 11:8: which register.

    Bit 63 of the register says "do not flush" and is no part of CR3; RSP is in the VMCS.
    """
    Number = vmread(EXIT_QUALIFICATION) >> 8 & 0xF
    Value = vmread(GUEST_RSP) if GENERAL[Number] == "Rsp" else getattr(regs, GENERAL[Number])
    __vmx_vmwrite(GUEST_CR3, Value & ~(1 << 63))
    skip_instruction()


GENERAL = "Rax Rcx Rdx Rbx Rsp Rbp Rsi Rdi R8 R9 R10 R11 R12 R13 R14 R15".split()
HANDLERS = {
    EXIT_REASON_EXCEPTION_NMI: HandleException,
    EXIT_REASON_CPUID: HandleCpuid,
    EXIT_REASON_VMCALL: HandleVmcall,
    EXIT_REASON_MSR_READ: HandleRdmsr,
    EXIT_REASON_MSR_WRITE: HandleWrmsr,
    EXIT_REASON_IO_INSTRUCTION: HandleIo,
    EXIT_REASON_EPT_VIOLATION: HandleEptViolation,
    EXIT_REASON_MONITOR_TRAP_FLAG: HandleTrapFlag,
    EXIT_REASON_CR_ACCESS: HandleControlRegister,
    **dict.fromkeys((*range(19, 28), 50, 53), HandleVmxInstruction),
}
