"""Zero-Tang/NoirVisor issue 24: a control that this processor does not have: error 7.

Which bits of a control may be 1 is in capability MSRs, and differs from processor to processor.
Here a bit is set after they were looked at ("enable PCONFIG", bit 27, of newer processors):
VMLAUNCH fails with VM-instruction error 7, "VM entry with invalid control field(s)", and every
processor that was in is taken out again.
"""

from driver.hypervisor import setup
from driver.hypervisor.fields import SECONDARY_VM_EXEC_CONTROL
from driver.hypervisor_system import DriverEntry
from ntsim.wdm import *

__all__ = ["DriverEntry"]

ENABLE_PCONFIG = 1 << 27
Controls = setup.SystemControls


def ControlsOfAnotherProcessor(Vcpu):
    Fields = dict(Controls(Vcpu))
    Fields[SECONDARY_VM_EXEC_CONTROL] |= ENABLE_PCONFIG
    return list(Fields.items())


setup.SystemControls = ControlsOfAnotherProcessor
