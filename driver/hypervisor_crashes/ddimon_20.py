"""tandasat/DdiMon issue 20: the value of a MOV to CR3 goes into the VMCS as it is: entry fails.

A kernel with page-table isolation sets bit 63 of what it loads ("do not flush"). The bit never gets
into CR3, but the exit hands over the register. In GUEST_CR3 it is a bit beyond the physical-address
width, the next VM entry fails with exit reason 33, invalid guest state, and the driver stops the
system with what it finds. ddimon_20_fixed.py clears the bit.
"""

from driver.hypervisor import exits
from driver.hypervisor.fields import EXIT_REASON_CR_ACCESS, GUEST_CR3
from driver.hypervisor_crashes.ddimon_20_fixed import DriverEntry
from driver.vmx_guest import skip_instruction
from ntsim.intrin import *
from ntsim.wdm import *

__all__ = ["DriverEntry"]


def HandleControlRegister(regs, Vcpu):
    __vmx_vmwrite(GUEST_CR3, regs.Rax)
    skip_instruction()


exits.HANDLERS[EXIT_REASON_CR_ACCESS] = HandleControlRegister
