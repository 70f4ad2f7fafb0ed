"""VMX operation on every logical processor: on when the device is opened, off when it is closed.

A processor enters VMX operation by itself, with a region of its own: VMXON concerns the processor
that executes it. So the thread visits each (processor.py) and g.GuestState has one entry for each.
"""

from hypervisor.memory import AllocateVmcsRegion, AllocateVmxonRegion, FreeVmxRegion
from hypervisor.processor import (
    AsmDisableVmxOperation,
    AsmEnableVmxOperation,
    IsVmxSupported,
    RunOnEachLogicalProcessor,
)

from ntsim.intrin import *
from ntsim.wdm import *

POOLTAG = 0x48564653  # [H]yper[V]isor [F]rom [S]cratch


class VIRTUAL_MACHINE_STATE(Structure):
    """One logical processor's part; physical addresses, 0 where there is none."""

    VmxonRegion: ULONGLONG
    VmcsRegion: ULONGLONG
    Processor: ULONG  # where VMXON was executed


class VMX_GLOBALS(Structure):
    GuestState: POINTER(VIRTUAL_MACHINE_STATE)
    ProcessorCount: ULONG


g = VMX_GLOBALS()


def InitializeVmx() -> NTSTATUS:
    """Take every logical processor into VMX root operation; if one refuses, none stays in it."""
    if not AllocateGuestState():
        return STATUS_INSUFFICIENT_RESOURCES
    if not RunOnEachLogicalProcessor(EnterVmxOperation):
        TerminateVmx()
        return STATUS_NOT_SUPPORTED
    return STATUS_SUCCESS


def AllocateGuestState() -> BOOLEAN:
    """The array of states, zeroed (pool memory is not), so that what is 0 is not there."""
    g.ProcessorCount = KeQueryActiveProcessorCount(NULL)
    Size = sizeof(VIRTUAL_MACHINE_STATE) * g.ProcessorCount
    g.GuestState = ExAllocatePoolWithTag(NonPagedPool, Size, POOLTAG)
    if g.GuestState == NULL:
        return FALSE
    RtlZeroMemory(g.GuestState, Size)
    return TRUE


def EnterVmxOperation(i) -> BOOLEAN:
    """VMXON, and a VMCS of its own, for the processor that executes this."""
    if not IsVmxSupported():
        DbgPrint("[*] VMX is not supported in this machine !\n")
        return FALSE
    AsmEnableVmxOperation()
    DbgPrint("[*] VMX Operation Enabled Successfully !\n")
    GuestState = g.GuestState[i]
    GuestState.Processor = KeGetCurrentProcessorNumberEx(NULL)
    if not AllocateVmxonRegion(GuestState) or not AllocateVmcsRegion(GuestState):
        return FALSE
    DbgPrint("[*] VMCS Region is allocated at  ===============> %llx\n", GuestState.VmcsRegion)
    DbgPrint("[*] VMXON Region is allocated at ===============> %llx\n", GuestState.VmxonRegion)
    return TRUE


def TerminateVmx() -> None:
    """VMXOFF wherever VMXON was executed. Compare: the tutorial never frees the array."""
    DbgPrint("[*] Terminating VMX...\n")
    for i in range(g.ProcessorCount):
        if g.GuestState[i].VmxonRegion:
            KeSetSystemAffinityThread(1 << g.GuestState[i].Processor)
            LeaveVmxOperation(g.GuestState[i])
            KeRevertToUserAffinityThread()
    ExFreePoolWithTag(g.GuestState, POOLTAG)
    g.GuestState = NULL
    DbgPrint("[*] VMX Operation turned off successfully. \n")


def LeaveVmxOperation(GuestState) -> None:
    """VMXOFF on this processor, and its regions back to Windows.

    VMCLEAR first: while a VMCS is active the processor may still write to its region (SDM 3,
    "Software Use of Virtual-Machine Control Structures"). Compare: the tutorial leaves it out.
    """
    DbgPrint("\t\tCurrent thread is executing in %d th logical processor.\n", GuestState.Processor)
    if GuestState.VmcsRegion:
        __vmx_vmclear(GuestState.VmcsRegion)
    __vmx_off()
    AsmDisableVmxOperation()
    FreeVmxRegion(GuestState.VmxonRegion)
    if GuestState.VmcsRegion:
        FreeVmxRegion(GuestState.VmcsRegion)
