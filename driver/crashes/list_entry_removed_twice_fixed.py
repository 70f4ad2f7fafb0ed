"""list_entry_removed_twice.py put right: who finishes a request takes it off the list."""

from driver.crashes.device import *
from ntsim.wdm import *


class REQUEST(Structure):
    Link: LIST_ENTRY
    Number: ULONG


Requests = LIST_ENTRY()
TAG = 0x54524142  # 'BART'


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    InitializeListHead(Requests)
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Code, Status = CodeOf(Irp), STATUS_SUCCESS
    if Code == CRASH_START:
        for Number in range(3):
            if NT_SUCCESS(Status):
                Status = AddRequest(Number)
    elif Code == CRASH_STOP:
        while not IsListEmpty(Requests):
            FinishRequest(CONTAINING_RECORD(Requests.Flink, REQUEST, "Link"))
    return Complete(Irp, Status)


def AddRequest(Number: ULONG) -> NTSTATUS:
    Request = cast(ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(REQUEST), TAG), POINTER(REQUEST))
    if not Request:
        return STATUS_INSUFFICIENT_RESOURCES
    Request.Number = Number
    InsertTailList(Requests, Request.Link)
    return STATUS_SUCCESS


def FinishRequest(Request) -> None:
    RemoveEntryList(Request.Link)
    DbgPrint("request %u is done\n", Request.Number)
    FreeRequest(Request)


def FreeRequest(Request) -> None:
    ExFreePoolWithTag(Request, TAG)
