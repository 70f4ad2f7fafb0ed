"""libvmi pull request 120: an EPT entry that cannot be: an EPT misconfiguration, exit reason 49.

To see every read of a page its right to read is taken away, and the right to write is left. SDM 3,
"EPT Misconfigurations": bits 2:0 may not be 010b or 110b. The processor tells at the first access,
a handler that expects violations gets another exit reason, and this one stops the system.
"""

from driver.hypervisor import watch
from driver.hypervisor.ept import EPT_EXECUTE, EPT_WRITE
from driver.hypervisor_system import DriverEntry
from ntsim.wdm import *

__all__ = ["DriverEntry"]


def RightsWithoutReading(Access):
    return EPT_WRITE | EPT_EXECUTE


watch.RightsWithout = RightsWithoutReading
