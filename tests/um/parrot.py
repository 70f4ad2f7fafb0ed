"""A driver for the tests of user mode: answers, pends, fails and cancels on request."""

from ntsim.wdm import *

DEVICE = "\\Device\\Parrot"
LINK = "\\DosDevices\\Parrot"


def code(function: int, method: int = METHOD_BUFFERED, access: int = FILE_ANY_ACCESS) -> int:
    return CTL_CODE(FILE_DEVICE_UNKNOWN, function, method, access)


ECHO = code(0x800)
ECHO_DIRECT = code(0x801, METHOD_OUT_DIRECT)
READ_DIRECT = code(0x802, METHOD_IN_DIRECT)
ECHO_NEITHER = code(0x803, METHOD_NEITHER)
FAIL_AFTER_WRITING = code(0x804)
PEND = code(0x805)
COMPLETE_PENDED = code(0x806)
NEEDS_WRITE_ACCESS = code(0x807, METHOD_BUFFERED, FILE_WRITE_ACCESS)
MORE_DATA = code(0x808)
FAIL_DIRECT = code(0x809, METHOD_OUT_DIRECT)

pended = []


def complete(Irp, status: int, information: int = 0) -> int:
    Irp.IoStatus.Status = status
    Irp.IoStatus.Information = information
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return status


def Succeed(DeviceObject, Irp):
    return complete(Irp, STATUS_SUCCESS)


def Transfer(DeviceObject, Irp):
    """Read gives `0123...`, write takes everything."""
    stack = IoGetCurrentIrpStackLocation(Irp)
    length = stack.Parameters.Read.Length
    if stack.MajorFunction == IRP_MJ_READ:
        length = min(length, 10)
        write_bytes(Irp.AssociatedIrp.SystemBuffer, b"0123456789"[:length])
    return complete(Irp, STATUS_SUCCESS, length)


def Cancel(DeviceObject, Irp):
    IoReleaseCancelSpinLock(Irp.CancelIrql)
    if Irp in pended:
        pended.remove(Irp)
    complete(Irp, STATUS_CANCELLED)


def Control(DeviceObject, Irp):
    stack = IoGetCurrentIrpStackLocation(Irp)
    p = stack.Parameters.DeviceIoControl
    size, room = p.InputBufferLength, p.OutputBufferLength
    system = Irp.AssociatedIrp.SystemBuffer
    which = p.IoControlCode
    if which == ECHO:
        return complete(Irp, STATUS_SUCCESS, min(size, room))
    if which == MORE_DATA:
        return complete(Irp, STATUS_BUFFER_OVERFLOW, min(size, room))
    if which == NEEDS_WRITE_ACCESS:
        return complete(Irp, STATUS_SUCCESS)
    if which in (ECHO_DIRECT, FAIL_DIRECT):
        count = min(size, room)
        if count:
            target = MmGetSystemAddressForMdlSafe(Irp.MdlAddress, NormalPagePriority)
            RtlCopyMemory(target, system, count)
        failed = which == FAIL_DIRECT
        return complete(Irp, STATUS_UNSUCCESSFUL if failed else STATUS_SUCCESS, count)
    if which == READ_DIRECT:
        source = MmGetSystemAddressForMdlSafe(Irp.MdlAddress, NormalPagePriority)
        DbgPrint("%s\n", read_bytes(source, room).decode())
        return complete(Irp, STATUS_SUCCESS, room)
    if which == ECHO_NEITHER:
        return EchoNeither(Irp, p)
    if which == FAIL_AFTER_WRITING:
        write_bytes(system, b"written")
        return complete(Irp, STATUS_DEVICE_NOT_READY, 7)
    if which == PEND:
        IoMarkIrpPending(Irp)
        IoSetCancelRoutine(Irp, Cancel)
        pended.append(Irp)
        return STATUS_PENDING
    if which == COMPLETE_PENDED:
        answer = b"late"
        for each in pended:
            IoSetCancelRoutine(each, NULL)
            write_bytes(each.AssociatedIrp.SystemBuffer, answer)
            complete(each, STATUS_SUCCESS, len(answer))
        pended.clear()
        return complete(Irp, STATUS_SUCCESS)
    return complete(Irp, STATUS_INVALID_DEVICE_REQUEST)


def EchoNeither(Irp, p):
    try:
        ProbeForRead(p.Type3InputBuffer, p.InputBufferLength, 1)
        ProbeForWrite(Irp.UserBuffer, p.OutputBufferLength, 1)
        data = read_bytes(p.Type3InputBuffer, p.InputBufferLength)[: p.OutputBufferLength]
        write_bytes(Irp.UserBuffer, data)
    except StructuredException as e:
        return complete(Irp, e.ExceptionCode)
    return complete(Irp, STATUS_SUCCESS, len(data))


def Unload(DriverObject):
    IoDeleteSymbolicLink(UNICODE_STRING(LINK))
    IoDeleteDevice(DriverObject.DeviceObject)


def DriverEntry(DriverObject, RegistryPath):
    name = UNICODE_STRING(DEVICE)
    status, device = IoCreateDevice(DriverObject, 0, name, FILE_DEVICE_UNKNOWN, 0, FALSE)
    if not NT_SUCCESS(status):
        return status
    device.Flags |= DO_BUFFERED_IO
    IoCreateSymbolicLink(UNICODE_STRING(LINK), name)
    for major in (IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_FLUSH_BUFFERS):
        DriverObject.MajorFunction[major] = Succeed
    DriverObject.MajorFunction[IRP_MJ_READ] = Transfer
    DriverObject.MajorFunction[IRP_MJ_WRITE] = Transfer
    DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control
    DriverObject.DriverUnload = Unload
    return STATUS_SUCCESS
