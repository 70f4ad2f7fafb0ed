"""HyperDbg issue 22: the handler looks through the wrong page tables: bug check 0xD1.

An exit loads HOST_CR3, the System process's. The guest's linear address means something in the
guest's CR3 alone; here nothing is mapped there, and with interrupts off no page fault can be
served: the IRQL is reported as 0xFF. A handler has to walk the guest's tables, or map what they
say.
"""

from driver.hypervisor import exits
from driver.hypervisor.fields import EXIT_REASON_EPT_VIOLATION, GUEST_LINEAR_ADDRESS
from driver.hypervisor_system import DriverEntry
from driver.vmx_guest import vmread
from ntsim.wdm import *

__all__ = ["DriverEntry"]


def HandleEptViolation(regs, Vcpu):
    """Shows the app's bytes before they change; or so its author thinks."""
    Before = read_bytes(vmread(GUEST_LINEAR_ADDRESS), 8)
    DbgPrint("hv: %02x is about to change\n", Before[0])
    exits.HandleEptViolation(regs, Vcpu)


exits.HANDLERS[EXIT_REASON_EPT_VIOLATION] = HandleEptViolation
