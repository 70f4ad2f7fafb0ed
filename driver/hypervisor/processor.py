"""One logical processor at a time: going there, and asking whether it can do VT-x.

Windows has no "run this on every processor" for a thread, so the thread moves: it takes an affinity
of one processor, and when KeSetSystemAffinityThread returns it runs there.
"""

from hypervisor.msr import *

from ntsim.intrin import *
from ntsim.wdm import *


def RunOnEachLogicalProcessor(Routine) -> BOOLEAN:
    """Call Routine(i) on logical processor i, for each; TRUE if all of them returned TRUE.

    Compare: the tutorial takes KeQueryActiveProcessors, a mask, for the count; computes the mask
    with an int, which ends at processor 31; and leaves the thread on the last processor for good.
    """
    Result = TRUE
    for i in range(KeQueryActiveProcessorCount(NULL)):
        KeSetSystemAffinityThread(1 << i)
        DbgPrint("\t\tCurrent thread is executing in %d th logical processor.\n", i)
        if not Routine(i):
            Result = FALSE
    KeRevertToUserAffinityThread()
    return Result


def IsVmxSupported() -> BOOLEAN:
    """Whether this processor has VT-x and firmware leaves it to us.

    IA32_FEATURE_CONTROL is a register of each processor, so this is asked on each; the tutorial
    asks on one. If firmware has not locked it we do what firmware should have done.
    """
    _, _, ecx, _ = __cpuid(1)
    if not ecx & CPUID_1_ECX_VMX:
        return FALSE
    Control = __readmsr(MSR_IA32_FEATURE_CONTROL)
    if not Control & FEATURE_CONTROL_LOCK:
        __writemsr(
            MSR_IA32_FEATURE_CONTROL, Control | FEATURE_CONTROL_LOCK | FEATURE_CONTROL_ENABLE_VMXON
        )
    elif not Control & FEATURE_CONTROL_ENABLE_VMXON:
        DbgPrint("[*] VMX locked off in BIOS\n")
        return FALSE
    return TRUE


def AsmEnableVmxOperation() -> None:
    """Set CR4.VMXE; VMXON is an invalid opcode without it. Of this processor alone."""
    __writecr4(__readcr4() | CR4_VMXE)


def AsmDisableVmxOperation() -> None:
    """Clear CR4.VMXE, which is possible only after VMXOFF. Compare: the tutorial leaves it set."""
    __writecr4(__readcr4() & ~CR4_VMXE)
