"""HyperWin pull request 12: RDTSCP in the guest is an invalid opcode: bug check 0x3B.

CPUID says that the processor has RDTSCP, but in VMX non-root operation it is #UD unless the
secondary control "enable RDTSCP" is 1 (the same holds for INVPCID and XSAVES:
ionescu007/SimpleVisor pull request 24 is the story of INVPCID). driver/hypervisor/setup.py sets it.
"""

from driver.hypervisor import setup
from driver.hypervisor.fields import SECONDARY_ENABLE_EPT, SECONDARY_VM_EXEC_CONTROL
from driver.hypervisor_system import DriverEntry
from ntsim.wdm import *

__all__ = ["DriverEntry"]

Controls = setup.SystemControls


def ControlsWithoutRdtscp(Vcpu):
    return [*Controls(Vcpu), (SECONDARY_VM_EXEC_CONTROL, SECONDARY_ENABLE_EPT)]


setup.SystemControls = ControlsWithoutRdtscp
