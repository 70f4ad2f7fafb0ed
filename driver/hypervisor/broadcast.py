"""VMCALL on every processor: each has tables, bitmaps and a VMCS of its own.

A thread moves from one to the next. Where no hypervisor is VMCALL would be an invalid opcode.
"""

from driver.hypervisor.vcpu import VIRTUALISED, hv
from ntsim.intrin import *
from ntsim.wdm import *


def CallEach(Service, Argument) -> NTSTATUS:
    """STATUS_SUCCESS, or what the first that refused has answered."""
    for i in range(hv.Count):
        if hv.Vcpus[i].State != VIRTUALISED:
            return STATUS_DEVICE_NOT_READY
        OldAffinity = KeSetSystemAffinityThreadEx(1 << i)
        Status = __vmx_vmcall(Service, Argument)
        KeRevertToUserAffinityThreadEx(OldAffinity)
        if not NT_SUCCESS(Status):
            return Status
    return STATUS_SUCCESS
