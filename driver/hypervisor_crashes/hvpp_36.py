"""wbenny/hvpp issue 36: a second hypervisor on the same processors: bug check 0x101.

The second one's VMXON exits to the first, which knows of no such thing and just resumes the guest:
at the same instruction, for ever, and the second one had turned interrupts off. Another processor
notices that this one takes no clock interrupt. driver/hypervisor/exits.py lets VMXON fail instead.
"""

from driver.hypervisor import exits, monitor
from driver.hypervisor.fields import EXIT_REASON_VMXON
from driver.hypervisor_system import DriverEntry
from ntsim.wdm import *

__all__ = ["DriverEntry"]


def HandleNothing(regs, Vcpu):
    """An exit reason that the author never expected."""


monitor.PERIOD = 1000  # a second: no app waits for events here
exits.HANDLERS[EXIT_REASON_VMXON] = HandleNothing
