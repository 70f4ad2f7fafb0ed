"""HyperDbg issue 429: the guest's invalid value becomes a fault of the hypervisor: bug check 0x139.

There it is XSETBV, here WRMSR of an address that is not canonical; the mistake is the same. The
guest would have had #GP. The handler executes the instruction for it, in root operation, and has
the #GP itself: an exception on the stack that HOST_RSP names, which is not the thread's, so that
Windows stops with parameter 1 = 4 without looking for a handler. driver/hypervisor/exits.py looks
at the value first, and injects #GP.
"""

from driver.hypervisor import exits
from driver.hypervisor.fields import EXIT_REASON_MSR_WRITE
from driver.hypervisor_system import DriverEntry
from driver.vmx_guest import skip_instruction
from ntsim.intrin import *
from ntsim.wdm import *

__all__ = ["DriverEntry"]


def HandleWrmsr(regs, Vcpu):
    __writemsr(regs.Rcx, regs.Rdx << 32 | regs.Rax & 0xFFFFFFFF)
    skip_instruction()


exits.HANDLERS[EXIT_REASON_MSR_WRITE] = HandleWrmsr
