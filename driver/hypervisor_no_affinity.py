"""The tutorial's hypervisor without KeSetSystemAffinityThread: VMX on some processors only.

Everything is driver/hypervisor, but for VisitEachLogicalProcessor, which counts processors without
going to them. VMXON then executes wherever the thread happens to be. On a processor that is in VMX
root operation already it fails, with 1 if there is a current VMCS to say why and 2 if not, and some
processor never gets there at all. Nothing crashes: the driver says that it started, and only its
output tells.
"""

from hypervisor.driver import Complete
from hypervisor.driver import DriverEntry as HypervisorDriverEntry
from hypervisor.vmx import AllocateGuestState, EnterVmxOperation

from ntsim.wdm import *


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    NtStatus = HypervisorDriverEntry(DriverObject, RegistryPath)
    if NT_SUCCESS(NtStatus):
        DriverObject.MajorFunction[IRP_MJ_CREATE] = DrvCreate
    return NtStatus


def DrvCreate(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    """Ignores failures, as the tutorial does."""
    if not AllocateGuestState():
        return Complete(Irp, STATUS_INSUFFICIENT_RESOURCES)
    VisitEachLogicalProcessor(EnterVmxOperation)
    DbgPrint("[*] VMX Initiated Successfully.\n")
    return Complete(Irp, STATUS_SUCCESS)


def VisitEachLogicalProcessor(Routine) -> None:
    """At DISPATCH_LEVEL a visit stays on the processor where it began, whichever that is."""
    for i in range(KeQueryActiveProcessorCount(NULL)):
        OldIrql = KeRaiseIrqlToDpcLevel()
        DbgPrint("\t\tThis should be logical processor %d.\n", i)
        Routine(i)
        KeLowerIrql(OldIrql)
