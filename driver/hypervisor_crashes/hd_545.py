"""HyperDbg pull request 545: the handler removes nothing, and one write exits for ever: a hang.

An EPT violation is reported before the instruction has done anything, and resuming executes it
again. A handler that neither grants the right nor goes past the instruction gets the same exit: the
app stands still, though the rest of the system runs on. ntsim says which instruction it is.
"""

from driver.hypervisor import exits
from driver.hypervisor.fields import *
from driver.hypervisor.monitor import Note
from driver.hypervisor_system import DriverEntry
from driver.vmx_guest import vmread
from ntsim.wdm import *

__all__ = ["DriverEntry"]


def HandleEptViolation(regs, Vcpu):
    """Reports it, and leaves everything as it is."""
    Note(Vcpu, EXIT_REASON_EPT_VIOLATION, vmread(EXIT_QUALIFICATION), vmread(GUEST_LINEAR_ADDRESS))


exits.HANDLERS[EXIT_REASON_EPT_VIOLATION] = HandleEptViolation
