"""What each logical processor's hypervisor consists of, and its memory.

Everything is allocated at PASSIVE_LEVEL before any processor is touched, so that the way into VMX
operation, which a DPC or an IPI may execute, needs nothing that could fail for lack of memory.
"""

from driver.hypervisor.bitmaps import AllocateBitmaps
from driver.hypervisor.ept import EPT_TABLES, AllocateEpt, FreeEpt
from driver.vmcs_setup import HOST_STACK_SIZE
from driver.vmx_guest import SAVED_STACK, alloc_vmx_region, physical
from ntsim.wdm import *

VCPU_TAG = int.from_bytes(b"HvVc", "little")
OFF, VIRTUALISED = 0, 1


class VIRTUAL_CPU(Structure):
    """One logical processor's part. `Status` is what its last attempt to get in came to."""

    Processor: ULONG
    VmxonRegion: PVOID
    VmcsRegion: PVOID
    Vmcs: ULONGLONG  # its physical address: nobody can be asked in an exit handler
    HostStack: PVOID
    Bitmaps: PVOID
    Ept: EPT_TABLES
    SavedStack: SAVED_STACK
    State: ULONG
    Status: ULONG
    Exits: ULONGLONG
    Opened: ULONG  # a bit for each hooked page that is open for one instruction (hooks.py)


class HV_GLOBALS(Structure):
    Vcpus: POINTER(VIRTUAL_CPU)
    Count: ULONG
    SystemCr3: ULONGLONG


hv = HV_GLOBALS()


def AllocateVcpus() -> BOOLEAN:
    """One for each processor; all or none."""
    hv.Count = KeQueryActiveProcessorCount(NULL)
    Size = sizeof(VIRTUAL_CPU) * hv.Count
    hv.Vcpus = ExAllocatePoolWithTag(NonPagedPool, Size, VCPU_TAG)
    if hv.Vcpus == NULL:
        return FALSE
    RtlZeroMemory(hv.Vcpus, Size)
    for i in range(hv.Count):
        hv.Vcpus[i].Processor = i
        if not AllocateVcpu(hv.Vcpus[i]):
            FreeVcpus()
            return FALSE
    return TRUE


def AllocateVcpu(Vcpu) -> BOOLEAN:
    Vcpu.VmxonRegion = alloc_vmx_region()
    Vcpu.VmcsRegion = alloc_vmx_region()
    Vcpu.HostStack = ExAllocatePoolWithTag(NonPagedPool, HOST_STACK_SIZE, VCPU_TAG)
    Vcpu.Bitmaps = AllocateBitmaps()
    Mapped = AllocateEpt(Vcpu.Ept)
    if Vcpu.VmcsRegion:
        Vcpu.Vmcs = physical(Vcpu.VmcsRegion)
    return bool(Mapped and Vcpu.VmxonRegion and Vcpu.VmcsRegion and Vcpu.HostStack and Vcpu.Bitmaps)


def FreeVcpus() -> None:
    """Give everything back; no processor may be in VMX operation any more."""
    if hv.Vcpus == NULL:
        return
    for i in range(hv.Count):
        Vcpu = hv.Vcpus[i]
        for Contiguous in (Vcpu.VmxonRegion, Vcpu.VmcsRegion, Vcpu.Bitmaps):
            if Contiguous:
                MmFreeContiguousMemory(Contiguous)
        if Vcpu.HostStack:
            ExFreePoolWithTag(Vcpu.HostStack, VCPU_TAG)
        FreeEpt(Vcpu.Ept)
    ExFreePoolWithTag(hv.Vcpus, VCPU_TAG)
    hv.Vcpus = NULL


def CurrentVcpu():
    """The one of the processor that executes this; at any IRQL, also in an exit handler.

    The number is in the KPCR, behind the GS base that HOST_GS_BASE has loaded: no more than a read.
    """
    return hv.Vcpus[KeGetCurrentProcessorNumberEx(NULL)]
