"""How the I/O manager behaves, as public test suites and dumps of real systems assert it."""

import pytest

from ntsim import win32
from ntsim.errors import Hang
from ntsim.wdm import *


def complete(Irp, status: int = STATUS_SUCCESS, information: int = 0) -> int:
    Irp.IoStatus.Status = status
    Irp.IoStatus.Information = information
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return status


def open_thing(flags: int = 0):
    access = win32.GENERIC_READ | win32.GENERIC_WRITE
    return win32.CreateFile("\\\\.\\Thing", access, 0, None, win32.OPEN_EXISTING, flags, None)


def ioctl(method: int) -> int:
    return CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, method, FILE_ANY_ACCESS)


# IRPs


def test_reusing_an_irp_resets_its_location_and_keeps_its_allocation_flags(value_of) -> None:
    """Wine dlls/ntoskrnl.exe/tests/driver.c, test_irp_struct."""

    def body() -> list[int]:
        irp = IoAllocateIrp(1, FALSE)
        irp.AllocationFlags |= 0x80
        flags = irp.AllocationFlags
        IoSkipCurrentIrpStackLocation(irp)
        IoReuseIrp(irp, STATUS_UNSUCCESSFUL)
        return [irp.CurrentLocation, irp.AllocationFlags == flags, irp.IoStatus.Status]

    assert value_of(body) == [2, True, STATUS_UNSUCCESSFUL]


def test_the_callers_status_block_is_written_at_completion_and_not_before(run_app) -> None:
    """Wine dlls/ntoskrnl.exe/tests/driver.c, test_call_driver."""
    pended = []

    def device_control(DeviceObject, Irp) -> int:
        if not pended:
            IoMarkIrpPending(Irp)
            pended.append(Irp)
            return STATUS_PENDING
        complete(pended[0], STATUS_SUCCESS, 123)
        return complete(Irp)

    def app() -> list:
        handle, overlapped = open_thing(win32.FILE_FLAG_OVERLAPPED), win32.OVERLAPPED()
        win32.DeviceIoControl(handle, ioctl(METHOD_NEITHER), None, 0, overlapped)
        before = overlapped.Internal
        win32.DeviceIoControl(handle, ioctl(METHOD_NEITHER), None, 0, win32.OVERLAPPED())
        return [before, overlapped.Internal, overlapped.InternalHigh]

    assert run_app(app, device_control=device_control).value == [STATUS_PENDING, 0, 123]


@pytest.mark.parametrize("propagates", [True, False])
def test_pending_returned_is_the_lower_locations_flag_and_must_be_propagated(
    run_driver, propagates: bool
) -> None:
    """Wine dlls/ntoskrnl.exe/tests/driver.c, test_completion."""
    seen = []

    def upper_done(DeviceObject, Irp, Context) -> int:
        seen.append(Irp.PendingReturned)
        if Irp.PendingReturned and propagates:
            IoMarkIrpPending(Irp)
        return STATUS_CONTINUE_COMPLETION

    def originator_done(DeviceObject, Irp, Context) -> int:
        seen.append(Irp.PendingReturned)
        return STATUS_MORE_PROCESSING_REQUIRED

    def body(DriverObject) -> None:
        lower = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)[1]
        upper = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)[1]
        lower.Flags &= ~DO_DEVICE_INITIALIZING
        IoAttachDeviceToDeviceStack(upper, lower)

        def read(DeviceObject, Irp) -> int:
            if DeviceObject == lower:
                IoMarkIrpPending(Irp)
                complete(Irp)
                return STATUS_PENDING
            IoCopyCurrentIrpStackLocationToNext(Irp)
            IoSetCompletionRoutine(Irp, upper_done, NULL, TRUE, TRUE, TRUE)
            return IoCallDriver(lower, Irp)

        DriverObject.MajorFunction[IRP_MJ_READ] = read
        irp = IoAllocateIrp(upper.StackSize, FALSE)
        IoGetNextIrpStackLocation(irp).MajorFunction = IRP_MJ_READ
        IoSetCompletionRoutine(irp, originator_done, NULL, TRUE, TRUE, TRUE)
        IoCallDriver(upper, irp)

    run_driver(body)
    assert seen == [1, int(propagates)]


def test_completing_an_irp_again_is_0x44(bugcheck_of) -> None:
    """ReactOS ntoskrnl/io/iomgr/irp.c: CurrentLocation past the top; dump: sysnative 36391."""
    seen = []

    def read(DeviceObject, Irp) -> int:
        complete(Irp)
        return complete(Irp)

    def body(DriverObject) -> None:
        DriverObject.MajorFunction[IRP_MJ_READ] = read
        device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)[1]
        irp = IoAllocateIrp(1, FALSE)
        seen.append(int(irp))
        IoGetNextIrpStackLocation(irp).MajorFunction = IRP_MJ_READ
        IoCallDriver(device, irp)

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[0]) == (0x44, seen[0])


# Cancelling


def test_cancelling_without_a_routine_returns_false_and_sets_cancel(value_of) -> None:
    """Wine dlls/ntoskrnl.exe/tests/driver.c, test_cancel_irp."""

    def body() -> list[int]:
        irp = IoAllocateIrp(1, FALSE)
        return [irp.Cancel, IoCancelIrp(irp), irp.Cancel, IoCancelIrp(irp)]

    assert value_of(body) == [0, False, 1, False]


def test_a_cancel_routine_is_called_once_with_the_cancel_lock_held(value_of) -> None:
    """Wine dlls/ntoskrnl.exe/tests/driver.c, test_cancel_irp."""

    def body() -> list:
        calls = []

        def cancel(DeviceObject, Irp) -> None:
            calls.append((KeGetCurrentIrql(), int(Irp.CancelRoutine), Irp.CancelIrql))
            IoReleaseCancelSpinLock(Irp.CancelIrql)

        irp = IoAllocateIrp(1, FALSE)
        IoSetCancelRoutine(irp, cancel)
        return [IoCancelIrp(irp), IoCancelIrp(irp), calls]

    assert value_of(body) == [True, False, [(DISPATCH_LEVEL, 0, PASSIVE_LEVEL)]]


@pytest.mark.parametrize("everything", [True, False])
def test_cancel_io_cancels_all_requests_of_the_thread_cancel_io_ex_one(
    run_app, everything: bool
) -> None:
    """Wine dlls/ntoskrnl.exe/tests/ntoskrnl.c, test_overlapped."""
    cancelled = []

    def cancel(DeviceObject, Irp) -> None:
        IoReleaseCancelSpinLock(Irp.CancelIrql)
        cancelled.append(Irp)
        complete(Irp, STATUS_CANCELLED)

    def device_control(DeviceObject, Irp) -> int:
        IoMarkIrpPending(Irp)
        IoSetCancelRoutine(Irp, cancel)
        return STATUS_PENDING

    def app() -> int:
        handle = open_thing(win32.FILE_FLAG_OVERLAPPED)
        overlapped = [win32.OVERLAPPED() for _ in range(2)]
        for each in overlapped:
            win32.DeviceIoControl(handle, ioctl(METHOD_BUFFERED), None, 0, each)
        win32.CancelIoEx(handle, None if everything else overlapped[0])
        return len(cancelled)

    assert run_app(app, device_control=device_control).value == (2 if everything else 1)


def test_a_cancel_routine_that_keeps_the_cancel_lock_is_0x11b(bugcheck_of) -> None:
    """Bug check 0x11B reference."""

    def body() -> None:
        irp = IoAllocateIrp(1, FALSE)
        IoSetCancelRoutine(irp, lambda device, each: None)
        IoCancelIrp(irp)

    assert bugcheck_of(body).code == 0x11B


def test_completing_with_a_cancel_routine_is_0x48(bugcheck_of) -> None:
    """Bug check 0x48 reference."""

    def body() -> None:
        irp = IoAllocateIrp(1, FALSE)
        IoSetNextIrpStackLocation(irp)
        IoSetCancelRoutine(irp, lambda device, each: None)
        complete(irp)

    assert bugcheck_of(body).code == 0x48


def test_cancelling_a_completed_irp_with_a_cancel_routine_is_0x48(bugcheck_of) -> None:
    """ReactOS ntoskrnl/io/iomgr/irp.c: CurrentLocation past the top; parameter 2 the routine."""
    seen = []

    def body() -> None:
        irp = IoAllocateIrp(1, FALSE)
        IoSetCancelRoutine(irp, lambda device, each: None)
        IoSkipCurrentIrpStackLocation(irp)
        seen.append((int(irp), irp.CancelRoutine))
        IoCancelIrp(irp)

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[:2]) == (0x48, seen[0])


# Devices


def test_attaching_goes_to_the_top_and_detaching_leaves_the_sizes(run_driver) -> None:
    """Wine dlls/ntoskrnl.exe/tests/driver.c, test_IoAttachDeviceToDeviceStack."""

    def body(DriverObject) -> list:
        devices = []
        for _ in range(3):
            device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)[1]
            device.Flags &= ~DO_DEVICE_INITIALIZING
            devices.append(device)
        one, two, three = devices
        found = [IoAttachDeviceToDeviceStack(two, one) == one]
        found += [IoAttachDeviceToDeviceStack(three, one) == two]
        sizes = [device.StackSize for device in devices]
        IoDetachDevice(one)
        return [*found, sizes, int(one.AttachedDevice), [device.StackSize for device in devices]]

    assert run_driver(body).value == [True, True, [1, 2, 3], 0, [1, 2, 3]]


def test_a_driver_objects_names_lie_where_windows_puts_them(run_driver) -> None:
    """ReactOS rostests/kmtests/ntos_io/IoDeviceObject_drv.c."""

    def body(DriverObject) -> list:
        name, key = DriverObject.DriverName, DriverObject.DriverExtension.ServiceKeyName
        return [
            name.MaximumLength == name.Length,
            read_bytes(key.Buffer + key.Length, 2),
            read_bytes(key.Buffer, key.Length).decode("utf-16-le"),
            MmIsNonPagedSystemAddressValid(name.Buffer),
            MmIsNonPagedSystemAddressValid(key.Buffer),
        ]

    assert run_driver(body).value == [True, b"\0\0", "drv", False, True]


# I/O control


def returning(status: int):
    """A dispatch routine that writes ghijkl to whatever buffer it has, and returns `status`."""

    def device_control(DeviceObject, Irp) -> int:
        method = IoGetCurrentIrpStackLocation(Irp).Parameters.DeviceIoControl.IoControlCode & 3
        if method == METHOD_BUFFERED:
            target = Irp.AssociatedIrp.SystemBuffer
        elif method == METHOD_NEITHER:
            target = Irp.UserBuffer
        else:
            target = MmGetSystemAddressForMdlSafe(Irp.MdlAddress, NormalPagePriority)
        write_bytes(target, b"ghijkl")
        return complete(Irp, status, 3)

    return device_control


def output_after(method: int):
    """An app whose output buffer begins as abcdef: what it holds afterwards."""

    def app() -> bytes:
        buffer = bytearray(b"abcdef")
        try:
            win32.DeviceIoControl(open_thing(), ioctl(method), None, buffer)
        except win32.error:
            return bytes(buffer)
        return bytes(buffer)

    return app


@pytest.mark.parametrize(
    ("status", "output"),
    [
        (STATUS_SUCCESS, b"ghidef"),
        (STATUS_BUFFER_OVERFLOW, b"ghidef"),
        (STATUS_UNSUCCESSFUL, b"abcdef"),
    ],
)
def test_buffered_output_is_information_bytes_and_none_after_an_error(
    run_app, status: int, output: bytes
) -> None:
    """Wine dlls/ntoskrnl.exe/tests/ntoskrnl.c, do_return_status."""
    found = run_app(output_after(METHOD_BUFFERED), device_control=returning(status)).value
    assert found == output


@pytest.mark.parametrize("method", [METHOD_IN_DIRECT, METHOD_OUT_DIRECT, METHOD_NEITHER])
@pytest.mark.parametrize("status", [STATUS_SUCCESS, STATUS_UNSUCCESSFUL])
def test_direct_and_neither_output_shows_whatever_the_status(
    run_app, method: int, status: int
) -> None:
    """Wine dlls/ntoskrnl.exe/tests/ntoskrnl.c, do_return_status."""
    found = run_app(output_after(method), device_control=returning(status)).value
    assert found == b"ghijkl"


def test_an_error_completed_but_returned_as_pending_unmarked_hangs_the_caller(
    ntsim_machine,
) -> None:
    """Wine dlls/ntoskrnl.exe/tests/ntoskrnl.c, do_return_status: "causes kernel hangs"."""
    machine = ntsim_machine()

    def device_control(DeviceObject, Irp) -> int:
        complete(Irp, STATUS_UNSUCCESSFUL)
        return STATUS_PENDING

    def succeed(DeviceObject, Irp) -> int:
        return complete(Irp)

    def DriverEntry(DriverObject, RegistryPath) -> int:
        for major in (IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE):
            DriverObject.MajorFunction[major] = succeed
        DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = device_control
        name = UNICODE_STRING("\\Device\\Thing")
        IoCreateDevice(DriverObject, 0, name, FILE_DEVICE_UNKNOWN, 0, FALSE)
        return IoCreateSymbolicLink(UNICODE_STRING("\\??\\Thing"), name)

    machine.load_driver(DriverEntry, name="thing.sys")
    with pytest.raises(Hang) as caught:
        machine.run(lambda: win32.DeviceIoControl(open_thing(), ioctl(METHOD_BUFFERED), None, 0))
    assert any("waits for" in line for line in caught.value.waits)


def test_a_buffered_request_without_lengths_has_no_system_buffer(crash_of) -> None:
    """GermanAizek/WinRing0 PR 8: drivers that dereference it crash."""
    seen = []

    def device_control(DeviceObject, Irp) -> int:
        seen.append(int(Irp.AssociatedIrp.SystemBuffer))
        return cast(Irp.AssociatedIrp.SystemBuffer, PULONG)[0]

    stop, _ = crash_of(device_control=device_control)
    assert seen == [0]
    assert (stop.code, stop.parameters[0]) == (0x3B, STATUS_ACCESS_VIOLATION)
