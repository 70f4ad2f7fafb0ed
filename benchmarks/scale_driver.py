"""A driver that can hold many threads, requests and devices at once, for `bench_scale`."""

from ntsim.wdm import *

NAME = "\\Device\\Scale"
LINK = "\\DosDevices\\Scale"

held = []
devices = []
gate = KEVENT()


def code(function: int) -> int:
    return CTL_CODE(FILE_DEVICE_UNKNOWN, function, METHOD_BUFFERED, FILE_ANY_ACCESS)


HOLD, RELEASE, THREADS, STACK, FLAT, PASS = map(code, range(0x800, 0x806))


def complete(Irp, status: int) -> int:
    Irp.IoStatus.Status = status
    Irp.IoStatus.Information = 0
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return status


def Succeed(DeviceObject, Irp):
    return complete(Irp, STATUS_SUCCESS)


def Wait(StartContext):
    KeWaitForSingleObject(gate, Executive, KernelMode, FALSE, NULL)


def Control(DeviceObject, Irp):
    """HOLD keeps the request until RELEASE; the others make input-many threads or devices."""
    which = IoGetCurrentIrpStackLocation(Irp).Parameters.DeviceIoControl.IoControlCode
    if which == HOLD:
        IoMarkIrpPending(Irp)
        held.append(Irp)
        return STATUS_PENDING
    if which == RELEASE:
        for each in held:
            complete(each, STATUS_SUCCESS)
        held.clear()
    elif which == PASS:
        below = lower.get(int(DeviceObject))
        if below is not None:
            IoSkipCurrentIrpStackLocation(Irp)
            return IofCallDriver(below, Irp)
    else:
        make(which, DeviceObject.DriverObject, cast(Irp.AssociatedIrp.SystemBuffer, ULONG)[0])
    return complete(Irp, STATUS_SUCCESS)


lower = {}


def make(which: int, driver, count: int) -> None:
    if which == THREADS:
        KeInitializeEvent(gate, NotificationEvent, FALSE)
        handles = [threads_handle() for _ in range(count)]
        pause()
        KeSetEvent(gate, 0, FALSE)
        pause()
        for each in handles:
            ZwClose(each)
        return
    for _ in range(count):
        _status, device = IoCreateDevice(driver, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        devices.append(device)
        if which == STACK:
            lower[int(device)] = IoAttachDeviceToDeviceStack(device, devices[0])
        device.Flags &= ~DO_DEVICE_INITIALIZING


def threads_handle() -> int:
    status, handle = PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, Wait, NULL)
    assert status == STATUS_SUCCESS, hex(status)
    return handle


def pause() -> None:
    """Long enough for every thread to come to rest, in virtual time."""
    interval = LARGE_INTEGER()
    interval.QuadPart = -10_000_000
    KeDelayExecutionThread(KernelMode, FALSE, interval)


def DriverEntry(DriverObject, RegistryPath):
    for major in (IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE):
        DriverObject.MajorFunction[major] = Succeed
    DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control
    name = UNICODE_STRING(NAME)
    status, device = IoCreateDevice(DriverObject, 0, name, FILE_DEVICE_UNKNOWN, 0, FALSE)
    if NT_SUCCESS(status):
        devices.append(device)
        status = IoCreateSymbolicLink(UNICODE_STRING(LINK), name)
    return status
