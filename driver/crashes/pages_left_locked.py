"""wbenny/KSOCKET issue 2: a process ends, and pages of it are still locked: bug check 0x76.

SendBuffer locks the app's buffer to give it to the network, and frees the MDL when it is sent. It
forgets to unlock the pages first. Nothing happens before the process goes and the memory manager
counts its locked pages.
"""

from driver.crashes.device import *
from ntsim.wdm import *


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    return CreateDevice(DriverObject, DeviceControl)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Request, Status = IoGetCurrentIrpStackLocation(Irp).Parameters.DeviceIoControl, STATUS_SUCCESS
    if Request.IoControlCode == CRASH_SEND:
        Status = SendBuffer(Request.Type3InputBuffer, Request.InputBufferLength)
    return Complete(Irp, Status)


def SendBuffer(Buffer: PVOID, Length: ULONG) -> NTSTATUS:
    Mdl = IoAllocateMdl(Buffer, Length, FALSE, FALSE, NULL)
    if not Mdl:
        return STATUS_INSUFFICIENT_RESOURCES
    try:
        MmProbeAndLockPages(Mdl, UserMode, IoReadAccess)
    except StructuredException as e:
        IoFreeMdl(Mdl)
        return e.ExceptionCode
    Status = Transmit(Mdl)
    IoFreeMdl(Mdl)
    return Status


def Transmit(Mdl: PMDL) -> NTSTATUS:
    """What stands for the network."""
    Data = MmGetSystemAddressForMdlSafe(Mdl, NormalPagePriority)
    if not Data:
        return STATUS_INSUFFICIENT_RESOURCES
    DbgPrint("sent %u bytes, the first is '%c'\n", Mdl.ByteCount, cast(Data, PUCHAR)[0])
    return STATUS_SUCCESS
