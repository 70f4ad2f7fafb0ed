"""lock_in_dpc.py put right: what a DPC uses as well is guarded by a spin lock."""

from driver.crashes.device import *
from ntsim.wdm import *

Clients, ClientsLock, Client = LIST_ENTRY(), KSPIN_LOCK(), LIST_ENTRY()
Timer, Disconnected = KTIMER(), KDPC()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    InitializeListHead(Clients)
    KeInitializeSpinLock(ClientsLock)
    KeInitializeTimer(Timer)
    KeInitializeDpc(Disconnected, RemoveClient, NULL)
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Code = CodeOf(Irp)
    if Code == CRASH_START:
        AddClient()
        KeSetTimer(Timer, Milliseconds(5), Disconnected)
    elif Code == CRASH_STOP:
        KeDelayExecutionThread(KernelMode, FALSE, Milliseconds(50))
    return Complete(Irp, STATUS_SUCCESS)


def AddClient() -> None:
    OldIrql = KeAcquireSpinLock(ClientsLock)
    InsertTailList(Clients, Client)
    KeReleaseSpinLock(ClientsLock, OldIrql)


def RemoveClient(Dpc: PKDPC, Context: PVOID, Argument1: PVOID, Argument2: PVOID) -> None:
    KeAcquireSpinLockAtDpcLevel(ClientsLock)
    RemoveEntryList(Client)
    KeReleaseSpinLockFromDpcLevel(ClientsLock)
