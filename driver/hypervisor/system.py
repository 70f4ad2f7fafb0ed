"""Virtualising the running system, a logical processor at a time, and giving it back.

    VirtualiseProcessor      on one processor: VMXON to VMLAUNCH; it returns as a guest
    DevirtualiseProcessor    on one processor: asks its handler, by VMCALL, for VMXOFF
    VirtualiseSystem         on all of them: by affinity, by DPC, or by IPI; all or none

Whichever way the processors are visited, those two run on each of them and need nothing of the
thread that began it. If one processor refuses, those that are in already are taken out again.
"""

from driver.hypervisor.exits import ExitHandler
from driver.hypervisor.fields import *
from driver.hypervisor.services import SERVICE_OFF
from driver.hypervisor.setup import SetUpVmcs
from driver.hypervisor.vcpu import OFF, VIRTUALISED, CurrentVcpu, hv
from driver.vmx_guest import physical
from ntsim.intrin import *
from ntsim.wdm import *

BY_AFFINITY, BY_DPC, BY_IPI = range(3)


def VirtualiseProcessor() -> None:
    """From the VMLAUNCH in here on this processor is a guest. Status says whether it is."""
    Vcpu, Cr4 = CurrentVcpu(), __readcr4()
    __writecr4(Cr4 | CR4_VMXE)
    Vcpu.Status = __vmx_on(physical(Vcpu.VmxonRegion))
    if Vcpu.Status:
        __writecr4(Cr4)  # somebody else's VMX operation keeps its VMXE
        return
    Vcpu.Status = __vmx_vmclear(Vcpu.Vmcs) or __vmx_vmptrld(Vcpu.Vmcs)
    if not Vcpu.Status:
        Vcpu.Status = save_stack(Vcpu.SavedStack, Launch)
    if Vcpu.Status:
        __vmx_vmclear(Vcpu.Vmcs)
        __vmx_off()
        __writecr4(__readcr4() & ~CR4_VMXE)
        return
    Vcpu.State = VIRTUALISED


def Launch() -> int:
    """Comes back only if it fails; else the save_stack above returns 0, in the guest."""
    return SetUpVmcs(CurrentVcpu(), ExitHandler) or __vmx_vmlaunch()


def DevirtualiseProcessor() -> None:
    """The handler leaves VMX operation and goes on here, where CR4.VMXE can be cleared."""
    Vcpu = CurrentVcpu()
    if Vcpu.State == VIRTUALISED:
        __vmx_vmcall(SERVICE_OFF)
        __writecr4(__readcr4() & ~CR4_VMXE)
        Vcpu.State = OFF


def VirtualiseSystem(Way) -> NTSTATUS:
    """Every logical processor; if one refuses, none."""
    OnEveryProcessor(VirtualiseProcessor, Way)
    for i in range(hv.Count):
        if hv.Vcpus[i].State != VIRTUALISED:
            DbgPrint("hv: processor %u refused, status %u\n", i, hv.Vcpus[i].Status)
            DevirtualiseSystem(Way)
            return STATUS_HV_OPERATION_FAILED
    return STATUS_SUCCESS


def DevirtualiseSystem(Way) -> None:
    """Every processor that is a guest goes back to what it was."""
    OnEveryProcessor(DevirtualiseProcessor, Way)


def OnEveryProcessor(Routine, Way) -> None:
    WAYS[Way](Routine)


def ByAffinity(Routine) -> None:
    """One after the other: this thread goes there. PASSIVE_LEVEL, interrupts as they are."""
    for i in range(hv.Count):
        OldAffinity = KeSetSystemAffinityThreadEx(1 << i)
        OldIrql = KeRaiseIrqlToDpcLevel()  # from VMXON to VMLAUNCH it has to stay there
        Routine()
        KeLowerIrql(OldIrql)
        KeRevertToUserAffinityThreadEx(OldAffinity)


def ByDpc(Routine) -> None:
    """All at once, at DISPATCH_LEVEL, each on the stack of whatever it interrupts."""
    KeGenericCallDpc(VirtualiseDpc if Routine is VirtualiseProcessor else DevirtualiseDpc, NULL)


def VirtualiseDpc(Dpc, Context, SystemArgument1, SystemArgument2) -> None:
    VirtualiseProcessor()
    KeSignalCallDpcSynchronize(SystemArgument2)
    KeSignalCallDpcDone(SystemArgument1)


def DevirtualiseDpc(Dpc, Context, SystemArgument1, SystemArgument2) -> None:
    DevirtualiseProcessor()
    KeSignalCallDpcSynchronize(SystemArgument2)
    KeSignalCallDpcDone(SystemArgument1)


def ByIpi(Routine) -> None:
    """All at once, at IPI_LEVEL: nothing else runs meanwhile, and nothing may be allocated."""
    KeIpiGenericCall(VirtualiseIpi if Routine is VirtualiseProcessor else DevirtualiseIpi, 0)


def VirtualiseIpi(Context) -> ULONG_PTR:
    VirtualiseProcessor()
    return 0


def DevirtualiseIpi(Context) -> ULONG_PTR:
    DevirtualiseProcessor()
    return 0


WAYS = {BY_AFFINITY: ByAffinity, BY_DPC: ByDpc, BY_IPI: ByIpi}
