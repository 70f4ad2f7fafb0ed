"""asamy/ksm issue 29: VMCALL in a DPC, on processors where no hypervisor is: bug check 0x1E.

The loop over the processors ends one too early. The broadcast reaches all of them, and where there
is no VMX operation VMCALL is an invalid opcode: 0xC000001D, with nothing below a DPC to handle it.
hypervisor_system.py virtualises all or none, and asks only where it is.
"""

from driver.hypervisor.services import SERVICE_EXITS
from driver.hypervisor.system import VirtualiseProcessor
from driver.hypervisor.system_ioctl import HV_EXITS, HV_VIRTUALISE
from driver.hypervisor.vcpu import hv
from driver.hypervisor_system import ROUTINES, DriverEntry
from ntsim.intrin import *
from ntsim.wdm import *

__all__ = ["DriverEntry"]


def VirtualiseMost(Input):
    for i in range(hv.Count - 1):
        KeSetSystemAffinityThread(1 << i)
        OldIrql = KeRaiseIrqlToDpcLevel()
        VirtualiseProcessor()
        KeLowerIrql(OldIrql)
    KeRevertToUserAffinityThread()
    return STATUS_SUCCESS, b""


def CountEverywhere(Input):
    KeGenericCallDpc(CountDpc, NULL)
    return STATUS_SUCCESS, b""


def CountDpc(Dpc, Context, SystemArgument1, SystemArgument2):
    __vmx_vmcall(SERVICE_EXITS)
    KeSignalCallDpcSynchronize(SystemArgument2)
    KeSignalCallDpcDone(SystemArgument1)


ROUTINES[HV_VIRTUALISE] = VirtualiseMost
ROUTINES[HV_EXITS] = CountEverywhere
