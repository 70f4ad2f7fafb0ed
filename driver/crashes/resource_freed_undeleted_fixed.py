"""resource_freed_undeleted.py put right: every way to free a node deletes its resource."""

from driver.crashes.device import *
from ntsim.wdm import *


class NODE(Structure):
    Resource: ERESOURCE
    Number: ULONG


PNODE = POINTER(NODE)
TAG = 0x73667A7A  # 'zzfs'
Nodes = (PVOID * 3)()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Code, Status = CodeOf(Irp), STATUS_SUCCESS
    if Code == CRASH_START:
        for Number in range(3):
            Nodes[Number] = CreateNode(Number)
    elif Code == CRASH_WORK:
        FreeNode(1)
        Status = UseSomeMemory()
    elif Code == CRASH_STOP:
        DestroyNode(0)
        DestroyNode(2)
    return Complete(Irp, Status)


def CreateNode(Number: ULONG) -> PVOID:
    Node = cast(ExAllocatePoolZero(NonPagedPoolNx, sizeof(NODE), TAG), PNODE)
    if Node:
        Node.Number = Number
        ExInitializeResourceLite(Node.Resource)
    return Node


def DestroyNode(Number: ULONG) -> None:
    Node = cast(Nodes[Number], PNODE)
    if Node:
        FreeNode(Number)


def FreeNode(Number: ULONG) -> None:
    """For a node whose file has been deleted."""
    ExDeleteResourceLite(cast(Nodes[Number], PNODE).Resource)
    ExFreePoolWithTag(Nodes[Number], TAG)
    Nodes[Number] = NULL


def UseSomeMemory() -> NTSTATUS:
    """The memory has its next owner."""
    Block = ExAllocatePoolZero(NonPagedPoolNx, sizeof(NODE), TAG)
    if not Block:
        return STATUS_INSUFFICIENT_RESOURCES
    ExFreePoolWithTag(Block, TAG)
    return STATUS_SUCCESS
