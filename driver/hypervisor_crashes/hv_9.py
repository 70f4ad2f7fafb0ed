"""jonomango/hv issue 9: an exit handler waits, in root operation, for what never comes: 0x101.

A change is to take effect on all processors at once, and so the handler of each waits until all the
others are in theirs. But the app's request goes to one processor after the other. The first waits
with interrupts off, no other will ever come, and another processor notices that this one has not
taken its clock interrupt.
"""

from driver.hypervisor import exits, services
from driver.hypervisor.services import SERVICE_WATCH_MSR
from driver.hypervisor.vcpu import hv
from driver.hypervisor_system import DriverEntry
from ntsim.intrin import *
from ntsim.wdm import *

__all__ = ["DriverEntry"]

Arrived = LONG()


def ServeTogether(Service, Argument):
    if Service == SERVICE_WATCH_MSR:
        InterlockedIncrement(Arrived)
        while Arrived[0] < hv.Count:
            _mm_pause()
    return services.Serve(Service, Argument)


exits.Serve = ServeTogether
