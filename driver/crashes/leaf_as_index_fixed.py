"""leaf_as_index.py put right: rows are counted from the first extended leaf."""

from driver.crashes.device import *
from ntsim.intrin import *
from ntsim.wdm import *

FIRST_EXTENDED = 0x80000000
TAG = 0x7269764E  # 'Nvir'


class CPUID_ANSWER(Structure):
    Eax: ULONG
    Ebx: ULONG
    Ecx: ULONG
    Edx: ULONG


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Status = STATUS_SUCCESS
    if CodeOf(Irp) == CRASH_START:
        OldIrql = KeRaiseIrqlToDpcLevel()  # all answers from one processor
        Status = CacheExtendedLeaves()
        KeLowerIrql(OldIrql)
    return Complete(Irp, Status)


def CacheExtendedLeaves() -> NTSTATUS:
    Last, _, _, _ = __cpuid(FIRST_EXTENDED)
    Count = Last - FIRST_EXTENDED + 1
    Table = ExAllocatePoolZero(NonPagedPoolNx, Count * sizeof(CPUID_ANSWER), TAG)
    if not Table:
        return STATUS_INSUFFICIENT_RESOURCES
    Answers = cast(Table, POINTER(CPUID_ANSWER))
    for Leaf in range(FIRST_EXTENDED, Last + 1):
        Eax, Ebx, Ecx, Edx = __cpuid(Leaf)
        Row = Answers[Leaf - FIRST_EXTENDED]
        Row.Eax, Row.Ebx, Row.Ecx, Row.Edx = Eax, Ebx, Ecx, Edx
    DbgPrint("%u extended leaves\n", Count)
    ExFreePoolWithTag(Table, TAG)
    return STATUS_SUCCESS
