"""ddimon_20.py put right: bit 63 is no part of CR3. CR3 exits all the same."""

from driver.hypervisor import setup
from driver.hypervisor.fields import CPU_BASED_CR3_LOAD_EXITING, CPU_BASED_VM_EXEC_CONTROL
from driver.hypervisor.system_ioctl import HV_TOUCH
from driver.hypervisor_system import ROUTINES, DriverEntry
from ntsim.intrin import *
from ntsim.wdm import *

__all__ = ["DriverEntry"]

NO_FLUSH = 1 << 63
Controls = setup.SystemControls


def ControlsWithCr3(Vcpu):
    Fields = dict(Controls(Vcpu))
    Fields[CPU_BASED_VM_EXEC_CONTROL] |= CPU_BASED_CR3_LOAD_EXITING
    return list(Fields.items())


def LoadCr3AsWindowsDoes(Input):
    """With kernel page-table isolation: the same CR3, and translations need not be forgotten."""
    __writecr3(__readcr3() | NO_FLUSH)
    return STATUS_SUCCESS, b""


setup.SystemControls = ControlsWithCr3
ROUTINES[HV_TOUCH] = LoadCr3AsWindowsDoes
