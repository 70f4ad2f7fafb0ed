"""asamy/ksm issue 1: a capability MSR that this processor does not have: bug check 0x7E.

IA32_VMX_EPT_VPID_CAP exists only where secondary controls know EPT or VPID; on the reporter's
virtual machine it did not. The processor here has that one, so the driver asks for one that it
lacks, IA32_VMX_PROCBASED_CTLS3: RDMSR is #GP either way, in DriverEntry, which runs in a system
thread. Bit 17 of IA32_VMX_PROCBASED_CTLS says whether it may be read.
"""

from driver.hypervisor_system import DriverEntry as SystemDriverEntry
from ntsim.intrin import *
from ntsim.wdm import *

MSR_IA32_VMX_PROCBASED_CTLS3 = 0x492


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    DbgPrint("hv: tertiary controls %llx\n", __readmsr(MSR_IA32_VMX_PROCBASED_CTLS3))
    return SystemDriverEntry(DriverObject, RegistryPath)
