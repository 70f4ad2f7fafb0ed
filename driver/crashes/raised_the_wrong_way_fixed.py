"""raised_the_wrong_way.py put right: the level is raised where it is below DISPATCH_LEVEL."""

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
    if OldIrql < DISPATCH_LEVEL:
        KeRaiseIrqlToDpcLevel()
    Visited[KeGetCurrentProcessorNumberEx(NULL)] += 1
    if OldIrql < DISPATCH_LEVEL:
        KeLowerIrql(OldIrql)
