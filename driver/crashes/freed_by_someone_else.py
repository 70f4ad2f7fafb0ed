"""HyperDbg issue 183: a pool manager frees at the end what somebody has freed behind its back.

The manager allocates buffers in advance, because they are needed where nothing can be allocated,
and keeps a flag for those that are gone. RemoveHook frees its buffer itself and does not tell:
AlreadyFreed is not set, and PoolManagerUninitialize frees the buffer again, bug check 0xC2 with
parameter 1 = 7.
"""

from driver.crashes.device import *
from ntsim.wdm import *


class POOL_TABLE(Structure):
    PoolsList: LIST_ENTRY
    Address: PVOID
    IsBusy: BOOLEAN
    AlreadyFreed: BOOLEAN


Pools = LIST_ENTRY()
Hook = PVOID()
TAG = 0x48444247  # 'GBDH'


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    InitializeListHead(Pools)
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Code, Status = CodeOf(Irp), STATUS_SUCCESS
    if Code == CRASH_START:
        Status = PoolManagerInitialize()
    elif Code == CRASH_WORK:
        Hook[0] = PoolManagerRequestPool()
        RemoveHook()
    elif Code == CRASH_STOP:
        PoolManagerUninitialize()
    return Complete(Irp, Status)


def PoolManagerInitialize() -> NTSTATUS:
    for _ in range(3):
        Entry = cast(ExAllocatePoolZero(NonPagedPoolNx, sizeof(POOL_TABLE), TAG), PPOOL_TABLE)
        if not Entry:
            return STATUS_INSUFFICIENT_RESOURCES
        Entry.Address = ExAllocatePoolWithTag(NonPagedPoolNx, 0x200, TAG)
        Entry.AlreadyFreed = not Entry.Address
        InsertTailList(Pools, Entry.PoolsList)
    return STATUS_SUCCESS


def PoolManagerRequestPool() -> PVOID:
    Link = Pools.Flink
    while Link != Pools:
        Entry = CONTAINING_RECORD(Link, POOL_TABLE, "PoolsList")
        if not Entry.IsBusy and not Entry.AlreadyFreed:
            Entry.IsBusy = TRUE
            return Entry.Address
        Link = Link.Flink
    return NULL


def RemoveHook() -> None:
    if Hook[0]:
        ExFreePoolWithTag(Hook[0], TAG)
        Hook[0] = NULL


def PoolManagerUninitialize() -> None:
    while not IsListEmpty(Pools):
        Entry = CONTAINING_RECORD(RemoveHeadList(Pools), POOL_TABLE, "PoolsList")
        if not Entry.AlreadyFreed:
            ExFreePoolWithTag(Entry.Address, TAG)
        ExFreePoolWithTag(Entry, TAG)


PPOOL_TABLE = POINTER(POOL_TABLE)
