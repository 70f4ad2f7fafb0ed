"""The VMXON region and the VMCS region of a logical processor: a page each, by physical address.

Both want 4 KiB, aligned to 4 KiB, with the processor's VMCS revision identifier in the first four
bytes (SDM 3, "Software Use of Virtual-Machine Control Structures", "VMXON Region").

Compare: the tutorial asks for three pages, aligns inside them and later frees the aligned address;
a request of a page is aligned already, and what is freed must be what was allocated. It raises the
IRQL to DISPATCH_LEVEL where it finds it above, which would lower it, and never puts it back. And it
translates the VMCS buffer's address before it looks whether there is a buffer.
"""

from hypervisor.msr import *

from ntsim.intrin import *
from ntsim.wdm import *


def VirtualToPhysicalAddress(Va) -> ULONGLONG:
    return MmGetPhysicalAddress(Va)


def PhysicalToVirtualAddress(Pa) -> PVOID:
    return MmGetVirtualForPhysical(Pa)


def AllocateVmxonRegion(GuestState) -> BOOLEAN:
    """Allocate the region and execute VMXON with it: VMX root operation from here on."""
    Region = AllocateVmxRegion("VMXON")
    if Region == 0:
        return FALSE
    Status = __vmx_on(Region)
    if Status:
        DbgPrint("[*] VMXON failed with status %d\n", Status)
        FreeVmxRegion(Region)
        return FALSE
    GuestState.VmxonRegion = Region
    return TRUE


def AllocateVmcsRegion(GuestState) -> BOOLEAN:
    """Allocate the region and make it the current VMCS.

    VMCLEAR before VMPTRLD puts the launch state to clear and the processor's own data into the
    region (SDM 3, "Initializing a VMCS"). Compare: the tutorial leaves it out.
    """
    Region = AllocateVmxRegion("VMCS")
    if Region == 0:
        return FALSE
    Status = __vmx_vmclear(Region) or __vmx_vmptrld(Region)
    if Status:
        DbgPrint("[*] VMCS failed with status %d\n", Status)
        FreeVmxRegion(Region)
        return FALSE
    GuestState.VmcsRegion = Region
    return TRUE


def AllocateVmxRegion(Name) -> ULONGLONG:
    """A zeroed page with the revision identifier in place: its physical address, or 0."""
    Buffer = MmAllocateContiguousMemory(PAGE_SIZE, MAXULONG64)
    if Buffer == NULL:
        DbgPrint("[*] Error : Couldn't Allocate Buffer for %s Region.\n", Name)
        return 0
    RtlZeroMemory(Buffer, PAGE_SIZE)
    Revision = __readmsr(MSR_IA32_VMX_BASIC) & VMX_BASIC_REVISION_IDENTIFIER
    cast(Buffer, PULONG)[0] = Revision
    Region = VirtualToPhysicalAddress(Buffer)
    DbgPrint("[*] Virtual allocated buffer for %s at %llx\n", Name, Buffer)
    DbgPrint("[*] Physical buffer allocated for %s at %llx\n", Name, Region)
    DbgPrint("[*] MSR_IA32_VMX_BASIC (MSR 0x480) Revision Identifier %llx\n", Revision)
    return Region


def FreeVmxRegion(Region) -> None:
    """Free a region by its physical address; MmFreeContiguousMemory wants the virtual one."""
    MmFreeContiguousMemory(PhysicalToVirtualAddress(Region))
