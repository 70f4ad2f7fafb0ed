"""freed_by_someone_else.py put right: a buffer of the pool manager goes back to the manager."""

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
        PoolManagerFreePool(Hook[0])
        Hook[0] = NULL


def PoolManagerFreePool(Address: PVOID) -> None:
    Link = Pools.Flink
    while Link != Pools:
        Entry = CONTAINING_RECORD(Link, POOL_TABLE, "PoolsList")
        if Entry.Address == Address:
            ExFreePoolWithTag(Address, TAG)
            Entry.AlreadyFreed = TRUE
        Link = Link.Flink


def PoolManagerUninitialize() -> None:
    while not IsListEmpty(Pools):
        Entry = CONTAINING_RECORD(RemoveHeadList(Pools), POOL_TABLE, "PoolsList")
        if not Entry.AlreadyFreed:
            ExFreePoolWithTag(Entry.Address, TAG)
        ExFreePoolWithTag(Entry, TAG)


PPOOL_TABLE = POINTER(POOL_TABLE)
