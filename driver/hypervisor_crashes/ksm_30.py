"""asamy/ksm issue 30: a VM exit finds no stack: bug check 0x7F, a double fault.

HOST_RSP is the top of the host stack, but of its physical address. As a linear address that is
somewhere in the half of user mode, and nothing is there. The first exit loads it; the first push
faults, and the frame of the page fault cannot be pushed either. In the report parameter 3, which is
RSP, was 1.
"""

from driver.hypervisor import setup
from driver.hypervisor_system import DriverEntry
from driver.vmcs import HOST_RSP
from driver.vmx_guest import physical
from ntsim.wdm import *

__all__ = ["DriverEntry"]

Fields = setup.SystemFields


def FieldsWithHostStack(Vcpu):
    Top = physical(Vcpu.HostStack) + setup.HOST_STACK_SIZE - 16
    return [*Fields(Vcpu), (HOST_RSP, Top)]


setup.SystemFields = FieldsWithHostStack
