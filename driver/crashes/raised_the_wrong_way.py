"""Hypervisor-From-Scratch issue 32: the test before KeRaiseIrqlToDpcLevel is the wrong way round.

"If the level is above DISPATCH_LEVEL, raise it to DISPATCH_LEVEL": where it is below, which it
always is, nothing is raised. Where it is above, here in a routine that runs on all processors at
IPI_LEVEL, raising lowers it. A free build says nothing at all; Driver Verifier stops: 0xC4/0x30.
"""

from driver.crashes.device import *
from ntsim.intrin import *
from ntsim.wdm import *

Visited = (ULONG * 64)()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Code = CodeOf(Irp)
    if Code == CRASH_START:
        PrepareProcessor()
    elif Code == CRASH_WORK:
        KeIpiGenericCall(PrepareByIpi, 0)
    return Complete(Irp, STATUS_SUCCESS)


def PrepareByIpi(Context: ULONG_PTR) -> ULONG_PTR:
    PrepareProcessor()
    return 0


def PrepareProcessor() -> None:
    """What belongs to a processor is done where the thread cannot leave it."""
    OldIrql = KeGetCurrentIrql()
    if OldIrql > DISPATCH_LEVEL:
        KeRaiseIrqlToDpcLevel()
    Visited[KeGetCurrentProcessorNumberEx(NULL)] += 1
    if OldIrql > DISPATCH_LEVEL:
        KeLowerIrql(OldIrql)
