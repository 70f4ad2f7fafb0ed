"""Zero-Tang/NoirVisor issue 2: a CPUID leaf is used as an index as it is: bug check 0xD1.

The extended leaves of CPUID begin at 0x80000000. The table of their answers has a row for each, and
row 0x80000000 of it is 32 GB away. Look at CacheExtendedLeaves.
"""

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
        Answers[Leaf].Eax = Eax
        Answers[Leaf].Ebx = Ebx
        Answers[Leaf].Ecx = Ecx
        Answers[Leaf].Edx = Edx
    DbgPrint("%u extended leaves\n", Count)
    ExFreePoolWithTag(Table, TAG)
    return STATUS_SUCCESS
