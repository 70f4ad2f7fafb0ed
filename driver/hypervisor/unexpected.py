"""An exit that nobody asked for: say so while there is a system that can."""

from driver.hypervisor.fields import EXIT_QUALIFICATION, GUEST_RIP, VM_EXIT_REASON
from driver.vmx_guest import vmread
from ntsim.wdm import *

HYPERVISOR_ERROR = 0x20001


def HandleUnexpected(regs, Vcpu) -> None:
    KeBugCheckEx(
        HYPERVISOR_ERROR, vmread(VM_EXIT_REASON), vmread(EXIT_QUALIFICATION), vmread(GUEST_RIP), 0
    )
