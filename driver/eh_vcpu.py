"""The virtual processor of the forum's hypervisor: its memory, its exits, and the way in and out.

VMLAUNCH does not return when it succeeds; the next thing that runs is the exit handler, on another
stack. To get back into the IOCTL routine the driver keeps the stack pointer of `enter_guest` and,
when an exit is for the user, puts it back: `pass_control_to_usermode` abandons the exit handler's
stack and `enter_guest` returns, as if VMLAUNCH had. In C both are a few lines of assembly; here
they are `save_stack` and `restore_stack`. What a restored stack does not bring back is everything
that is not on it: the IRQL, RFLAGS.IF, the processor. eh.py and eh_fixed.py differ in what they do
about that.
"""

from driver.vmcs import *
from driver.vmcs_setup import vmcs_setup
from driver.vmx_guest import (
    SAVED_STACK,
    VMX_GUEST,
    skip_instruction,
    vmcs_load,
    vmread,
    vmx_start,
    vmx_stop,
)
from ntsim.intrin import *
from ntsim.wdm import *

VCPU_STATE_CLEAR = 0  # never ran
VCPU_STATE_LAUNCHED = 1  # its VMCS is current on a processor; the guest can be resumed
VCPU_STATE_OFF_AND_DIRTY = 2  # HLT or an error ended it

MAXIMUM_PROCESSORS = 64


class EH_EXIT(Structure):
    """What the app gets to know of an exit; eh_ioctl.EH_EXIT_FORMAT is the same for its side."""

    Reason: ULONG  # VM_EXIT_REASON: bit 31 is set if the entry failed
    Offset: ULONG  # of the instruction, from the start of the guest's code
    Port: USHORT
    Size: UCHAR  # bytes moved by IN or OUT
    In: UCHAR  # 1 for IN, 0 for OUT
    Value: ULONG  # what OUT wrote
    Rax: ULONGLONG


class VCPU(Structure):
    """One for each open handle, in FsContext."""

    State: ULONG
    Processor: ULONG
    OldIrql: KIRQL
    Code: PVOID
    SavedStack: SAVED_STACK
    Guest: VMX_GUEST
    Exit: EH_EXIT


class EH_GLOBALS(Structure):
    """Which vcpu is loaded on which logical processor; NULL where none is."""

    Vcpu: POINTER(VCPU) * MAXIMUM_PROCESSORS


PVCPU = POINTER(VCPU)
Globals = EH_GLOBALS()


def load_vcpu(vcpu, code) -> int:
    """VMXON and a fresh VMCS for the vcpu, on this processor. Not 0 if that failed."""
    number = KeGetCurrentProcessorNumberEx(NULL)
    if Globals.Vcpu[number] != NULL or vmx_start(vcpu.Guest):
        return 1
    Globals.Vcpu[number] = vcpu
    vcpu.Processor = number
    vcpu.State = VCPU_STATE_LAUNCHED
    return vmcs_setup(vcpu.Guest, code, eh_exit_handler)


def reload_vcpu(vcpu) -> int:
    """Current on its processor again, with the CR3 of its caller. Not 0 if that failed."""
    return (
        vmcs_load(vcpu.Guest)
        or __vmx_vmwrite(HOST_CR3, __readcr3())
        or __vmx_vmwrite(GUEST_CR3, __readcr3())
    )


def stop_vcpu(vcpu) -> None:
    """Take the vcpu off this processor, if it is there: VMCLEAR, VMXOFF."""
    vcpu.State = VCPU_STATE_OFF_AND_DIRTY
    if Globals.Vcpu[vcpu.Processor] == vcpu:
        Globals.Vcpu[vcpu.Processor] = NULL
        vmx_stop(vcpu.Guest)


def enter_guest(vcpu, vm_entry) -> int:
    """Run the guest. 0: an exit gave control back. Not 0: vm_entry itself came back, it failed.

    `vm_entry` is __vmx_vmlaunch or __vmx_vmresume.
    """
    return save_stack(vcpu.SavedStack, vm_entry)


def pass_control_to_usermode(vcpu) -> None:
    """Return 0 from enter_guest, which is not below us on this stack. Does not come back."""
    restore_stack(vcpu.SavedStack, 0)


def eh_exit_handler(regs) -> None:
    """Where every VM exit lands (HOST_RIP), on the vcpu's host stack. Returning resumes the guest.

    Interrupts are off, whatever CR8 says: the processor takes RFLAGS = 2 (SDM 3, "Loading Host RIP,
    RSP and RFLAGS"). So nothing here may wait, touch pageable memory or print.
    """
    vcpu = Globals.Vcpu[KeGetCurrentProcessorNumberEx(NULL)]
    reason = vmread(VM_EXIT_REASON)
    if reason == EXIT_REASON_CPUID:
        handle_cpuid(regs)
        return
    record_exit(vcpu, regs, reason)
    if reason == EXIT_REASON_IO_INSTRUCTION:
        skip_instruction()
    else:
        vcpu.State = VCPU_STATE_OFF_AND_DIRTY  # HLT, or something that we do not virtualise
    pass_control_to_usermode(vcpu)


def handle_cpuid(regs) -> None:
    """CPUID always exits; the guest may see the processor as it is."""
    regs.Rax, regs.Rbx, regs.Rcx, regs.Rdx = __cpuid(regs.Rax & 0xFFFFFFFF, regs.Rcx & 0xFFFFFFFF)
    skip_instruction()


def record_exit(vcpu, regs, reason) -> None:
    """Keep for EH_GET_EXIT what the VMCS and the guest's registers say now."""
    report = vcpu.Exit
    RtlZeroMemory(report, sizeof(EH_EXIT))
    report.Reason = reason
    report.Offset = vmread(GUEST_RIP) - vcpu.Code
    report.Rax = regs.Rax
    if reason == EXIT_REASON_IO_INSTRUCTION:
        record_io(report, regs.Rax, vmread(EXIT_QUALIFICATION))


def record_io(report, rax, qualification) -> None:
    """The I/O part; SDM 3, "Exit Qualification for I/O Instructions"."""
    report.Size = (qualification & 7) + 1
    report.In = qualification >> 3 & 1
    report.Port = qualification >> 16
    if not report.In:
        report.Value = rax & (1 << 8 * report.Size) - 1
