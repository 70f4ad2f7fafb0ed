"""A bluepill's README: GUEST_ACTIVITY_STATE was never written: VM entry fails, exit reason 33.

VMCLEAR does not initialise a VMCS: a field that is not written is what the region held, and memory
comes uninitialised. An activity state above 3 is none. driver/hypervisor zeroes its regions, and
writes the field.
"""

from driver.hypervisor import setup, vcpu
from driver.hypervisor.fields import GUEST_ACTIVITY_STATE
from driver.hypervisor_system import DriverEntry
from driver.vmcs import MSR_IA32_VMX_BASIC
from ntsim.intrin import *
from ntsim.wdm import *

__all__ = ["DriverEntry"]

GuestFields = setup.guest_fields


def AllocRegion():
    """As alloc_vmx_region, without RtlZeroMemory."""
    Region = MmAllocateContiguousMemory(PAGE_SIZE, MAXULONG64)
    if Region:
        cast(Region, PULONG)[0] = __readmsr(MSR_IA32_VMX_BASIC) & 0x7FFFFFFF
    return Region


def FieldsWithoutActivity(Places, Rip):
    return [(F, V) for F, V in GuestFields(Places, Rip) if F != GUEST_ACTIVITY_STATE]


vcpu.alloc_vmx_region = AllocRegion
setup.guest_fields = FieldsWithoutActivity
