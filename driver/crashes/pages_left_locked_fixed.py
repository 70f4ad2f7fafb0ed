"""pages_left_locked.py put right: what was locked is unlocked before its MDL is freed."""

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
    MmUnlockPages(Mdl)
    IoFreeMdl(Mdl)
    return Status


def Transmit(Mdl: PMDL) -> NTSTATUS:
    """What stands for the network."""
    Data = MmGetSystemAddressForMdlSafe(Mdl, NormalPagePriority)
    if not Data:
        return STATUS_INSUFFICIENT_RESOURCES
    DbgPrint("sent %u bytes, the first is '%c'\n", Mdl.ByteCount, cast(Data, PUCHAR)[0])
    return STATUS_SUCCESS
