"""chain_half_unlocked.py put right: the chain is followed to its end."""

from driver.crashes.device import *
from ntsim.wdm import *

SIZE, TAG = 0x2000, 0x73667A7A  # 'zzfs'
Buffers = (PVOID * 2)()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Status = STATUS_SUCCESS
    if CodeOf(Irp) == CRASH_WORK:
        Status = Transfer()
    return Complete(Irp, Status)


def Transfer() -> NTSTATUS:
    for Index in range(2):
        Buffers[Index] = ExAllocatePoolZero(NonPagedPoolNx, SIZE, TAG)
        if not Buffers[Index]:
            return STATUS_INSUFFICIENT_RESOURCES
    First, Second = Lock(Buffers[0]), Lock(Buffers[1])
    First.Next = Second
    DbgPrint("reading into %p and %p\n", Buffers[0], Buffers[1])
    Unlock(First)
    for Index in range(2):
        ExFreePoolWithTag(Buffers[Index], TAG)
    return STATUS_SUCCESS


def Lock(Buffer: PVOID) -> PMDL:
    Mdl = IoAllocateMdl(Buffer, SIZE, FALSE, FALSE, NULL)
    MmProbeAndLockPages(Mdl, KernelMode, IoWriteAccess)
    return Mdl


def Unlock(Mdl: PMDL) -> None:
    while Mdl:
        Next = Mdl.Next
        MmUnlockPages(Mdl)
        IoFreeMdl(Mdl)
        Mdl = Next
