"""A few bytes of code as a guest: the tutorial's first VMLAUNCH, with EPT, before the whole system.

The guest runs on one processor from VMXON to VMXOFF at DISPATCH_LEVEL. Each exit is noted; HLT, and
anything that is not CPUID or a port, ends it.
"""

from driver.hypervisor.ept import Eptp
from driver.hypervisor.fields import *
from driver.hypervisor.vcpu import CurrentVcpu
from driver.vmcs_setup import adjust_controls, vmcs_setup, write_fields
from driver.vmx_guest import (
    VMX_GUEST,
    alloc_guest,
    free_guest,
    keep_tables,
    put_tables_back,
    skip_instruction,
    vmread,
    vmx_start,
    vmx_stop,
)
from ntsim.intrin import *
from ntsim.wdm import *

MOST_EXITS = 32


class SMALL_GUEST(Structure):
    Vmx: VMX_GUEST
    Slot: ULONGLONG * 1
    Count: ULONG
    Reasons: ULONG * MOST_EXITS
    Qualifications: ULONGLONG * MOST_EXITS


sg = SMALL_GUEST()


def RunSmallGuest(Code):
    """[(exit reason, qualification)] of a guest that starts at Code; None if it did not start."""
    if not alloc_guest(sg.Vmx):
        free_guest(sg.Vmx)
        return None
    sg.Count = 0
    OldIrql = KeRaiseIrqlToDpcLevel()
    Tables = keep_tables()
    Failed = vmx_start(sg.Vmx)
    if not Failed:
        Failed = vmcs_setup(sg.Vmx, Code, SmallExitHandler) or write_fields(EptFields())
        Failed = Failed or save_stack(sg.Slot, __vmx_vmlaunch)
        vmx_stop(sg.Vmx)
    put_tables_back(Tables)
    _enable()  # RFLAGS is 2 after a VM exit
    KeLowerIrql(OldIrql)
    free_guest(sg.Vmx)
    if Failed:
        return None
    return [(sg.Reasons[i], sg.Qualifications[i]) for i in range(sg.Count)]


def EptFields():
    """The guest's physical memory through this processor's tables."""
    Primary = vmread(CPU_BASED_VM_EXEC_CONTROL) | CPU_BASED_ACTIVATE_SECONDARY_CONTROLS
    Secondary = adjust_controls(SECONDARY_ENABLE_EPT, MSR_IA32_VMX_PROCBASED_CTLS2)
    return [
        (CPU_BASED_VM_EXEC_CONTROL, Primary),
        (SECONDARY_VM_EXEC_CONTROL, Secondary),
        (EPT_POINTER, Eptp(CurrentVcpu().Ept)),
    ]


def SmallExitHandler(regs) -> None:
    Reason = vmread(VM_EXIT_REASON)
    if sg.Count < MOST_EXITS:
        sg.Reasons[sg.Count] = Reason
        sg.Qualifications[sg.Count] = vmread(EXIT_QUALIFICATION)
        sg.Count += 1
    if Reason == EXIT_REASON_CPUID:
        regs.Rax, regs.Rbx, regs.Rcx, regs.Rdx = __cpuid(regs.Rax & 0xFFFFFFFF)
    elif Reason != EXIT_REASON_IO_INSTRUCTION:
        restore_stack(sg.Slot, 0)
    skip_instruction()
