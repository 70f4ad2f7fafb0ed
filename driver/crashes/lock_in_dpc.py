"""nefarius/BthPS3 issue 2: a DPC acquires the push lock of a list: bug check 0x192.

The clients of a driver are in a list that a push lock guards. Most of the time the list is used by
threads. When a connection breaks, a DPC takes the client out, and acquires the lock as everybody
does. Whoever holds it may be the very thread that the DPC has interrupted.
"""

from driver.crashes.device import *
from ntsim.wdm import *

Clients, ClientsLock, Client = LIST_ENTRY(), EX_PUSH_LOCK(), LIST_ENTRY()
Timer, Disconnected = KTIMER(), KDPC()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    InitializeListHead(Clients)
    ExInitializePushLock(ClientsLock)
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
    KeEnterCriticalRegion()
    ExAcquirePushLockExclusive(ClientsLock)
    InsertTailList(Clients, Client)
    ExReleasePushLockExclusive(ClientsLock)
    KeLeaveCriticalRegion()


def RemoveClient(Dpc: PKDPC, Context: PVOID, Argument1: PVOID, Argument2: PVOID) -> None:
    ExAcquirePushLockExclusive(ClientsLock)
    RemoveEntryList(Client)
    ExReleasePushLockExclusive(ClientsLock)
