"""tandasat/DdiMon issue 22: VMCALL when the system was never virtualised: bug check 0x3B.

The start of the hypervisor failed, nobody looked, and the first service call executes VMCALL
outside VMX operation: an invalid opcode in a system call. hypervisor_system.py refuses the request.
"""

from driver.hypervisor.services import SERVICE_WATCH_MSR
from driver.hypervisor.system_ioctl import HV_VIRTUALISE, HV_WATCH_MSR
from driver.hypervisor_system import ROUTINES, DriverEntry, Number
from ntsim.intrin import *
from ntsim.wdm import *

__all__ = ["DriverEntry"]


def VirtualiseAndHope(Input):
    return STATUS_SUCCESS, b""


def WatchMsr(Input):
    return __vmx_vmcall(SERVICE_WATCH_MSR, Number(Input)), b""


ROUTINES[HV_VIRTUALISE] = VirtualiseAndHope
ROUTINES[HV_WATCH_MSR] = WatchMsr
