"""IRPs on their way down and up: stack locations, completion routines, and the fatal mistakes."""

import pytest

from ntsim.wdm import *

MORE = STATUS_MORE_PROCESSING_REQUIRED


def stack_of(DriverObject, count: int):
    """A stack of `count` devices of one driver, top first."""
    devices = []
    for _ in range(count):
        device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)[1]
        device.Flags &= ~DO_DEVICE_INITIALIZING
        if devices:
            IoAttachDeviceToDeviceStack(device, devices[0])
        devices.insert(0, device)
    return devices


def complete(Irp, status: int = STATUS_SUCCESS, information: int = 0) -> int:
    Irp.IoStatus.Status = status
    Irp.IoStatus.Information = information
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return status


def read_irp(device, stack_size: int = 0):
    """A driver's own IRP_MJ_READ for a device."""
    irp = IoAllocateIrp(stack_size or device.StackSize, FALSE)
    IoGetNextIrpStackLocation(irp).MajorFunction = IRP_MJ_READ
    return irp


def keep(DeviceObject, Irp, Context) -> int:
    """A completion routine that gives the IRP back to its allocator."""
    return MORE


def test_a_new_irp_is_zeroed_and_has_its_locations(value_of) -> None:
    def body() -> list:
        irp = IoAllocateIrp(3, FALSE)
        return [
            irp.Type,
            irp.Size,
            irp.StackCount,
            irp.CurrentLocation,
            IoGetCurrentIrpStackLocation(irp) - irp,
            IoSizeOfIrp(3),
            irp.Cancel,
        ]

    size = 0xD0 + 3 * 0x48
    assert value_of(body) == [6, size, 3, 4, size, size, 0]


def test_calling_a_driver_makes_the_next_location_current(run_driver) -> None:
    seen = []

    def read(DeviceObject, Irp) -> int:
        location = IoGetCurrentIrpStackLocation(Irp)
        seen.append((location.MajorFunction, location.DeviceObject == DeviceObject))
        seen.append((Irp.CurrentLocation, location - Irp))
        return 5

    def body(DriverObject) -> int:
        DriverObject.MajorFunction[IRP_MJ_READ] = read
        (device,) = stack_of(DriverObject, 1)
        return IoCallDriver(device, read_irp(device))

    assert run_driver(body).value == 5
    assert seen == [(IRP_MJ_READ, True), (1, 0xD0)]


def test_an_unset_major_function_fails_the_irp(run_driver) -> None:
    def body(DriverObject) -> list:
        (device,) = stack_of(DriverObject, 1)
        irp = read_irp(device)
        IoSetCompletionRoutine(irp, keep, NULL, TRUE, TRUE, TRUE)
        return [IoCallDriver(device, irp), irp.IoStatus.Status, irp.IoStatus.Information]

    assert run_driver(body).value == [STATUS_INVALID_DEVICE_REQUEST] * 2 + [0]


@pytest.mark.parametrize(
    ("status", "cancelled", "flags", "called"),
    [
        (STATUS_SUCCESS, False, (1, 0, 0), True),
        (STATUS_SUCCESS, False, (0, 1, 1), False),
        (STATUS_UNSUCCESSFUL, False, (0, 1, 0), True),
        (STATUS_UNSUCCESSFUL, False, (1, 0, 1), False),
        (STATUS_CANCELLED, True, (0, 0, 1), True),
        (STATUS_SUCCESS, True, (0, 0, 1), True),
        (STATUS_CANCELLED, True, (1, 0, 0), False),
        (STATUS_BUFFER_OVERFLOW, False, (0, 1, 0), True),
        (STATUS_BUFFER_OVERFLOW, False, (1, 0, 0), False),
    ],
)
def test_a_completion_routine_runs_for_the_outcomes_it_asked_for(
    run_driver, status: int, cancelled: bool, flags, called: bool
) -> None:
    """NT_SUCCESS decides between success and error: a warning counts as an error."""
    seen = []

    def read(DeviceObject, Irp) -> int:
        Irp.Cancel = cancelled
        return complete(Irp, status)

    def routine(DeviceObject, Irp, Context) -> int:
        seen.append((DeviceObject == NULL, Context, Irp.IoStatus.Status))
        return MORE

    def body(DriverObject) -> None:
        DriverObject.MajorFunction[IRP_MJ_READ] = read
        (device,) = stack_of(DriverObject, 1)
        irp = read_irp(device)
        IoSetCompletionRoutine(irp, routine, 9, *flags)
        IoCallDriver(device, irp)

    run_driver(body)
    assert seen == ([(True, 9, status)] if called else [])


def test_completion_routines_run_upwards_with_their_own_device(run_driver) -> None:
    seen = []

    def routine(DeviceObject, Irp, Context) -> int:
        seen.append((Context, int(DeviceObject)))
        return MORE if Context == 0 else STATUS_CONTINUE_COMPLETION

    def body(DriverObject) -> list:
        devices = stack_of(DriverObject, 3)

        def read(DeviceObject, Irp) -> int:
            place = devices.index(DeviceObject)
            if place == 2:
                return complete(Irp)
            IoCopyCurrentIrpStackLocationToNext(Irp)
            IoSetCompletionRoutine(Irp, routine, place + 1, TRUE, TRUE, TRUE)
            return IoCallDriver(devices[place + 1], Irp)

        DriverObject.MajorFunction[IRP_MJ_READ] = read
        irp = read_irp(devices[0])
        IoSetCompletionRoutine(irp, routine, 0, TRUE, TRUE, TRUE)
        status = IoCallDriver(devices[0], irp)
        return [status, [int(device) for device in devices], irp.CurrentLocation]

    status, devices, location = run_driver(body).value
    assert seen == [(2, devices[1]), (1, devices[0]), (0, 0)]
    assert (status, location) == (0, 4)


def test_skipping_a_location_gives_the_lower_driver_this_one(run_driver) -> None:
    seen = []

    def body(DriverObject) -> None:
        devices = stack_of(DriverObject, 2)

        def read(DeviceObject, Irp) -> int:
            seen.append(Irp.CurrentLocation)
            if DeviceObject == devices[0]:
                IoSkipCurrentIrpStackLocation(Irp)
                return IoCallDriver(devices[1], Irp)
            return complete(Irp)

        DriverObject.MajorFunction[IRP_MJ_READ] = read
        irp = read_irp(devices[0])
        IoSetCompletionRoutine(irp, keep, NULL, TRUE, TRUE, TRUE)
        IoCallDriver(devices[0], irp)

    run_driver(body)
    assert seen == [2, 2]


def test_more_processing_required_stops_completion_until_it_is_completed_again(
    run_driver,
) -> None:
    seen = []

    def upper(DeviceObject, Irp, Context) -> int:
        seen.append("upper")
        return MORE

    def lower(DeviceObject, Irp, Context) -> int:
        seen.append("lower")
        return MORE

    def body(DriverObject) -> None:
        devices = stack_of(DriverObject, 2)

        def read(DeviceObject, Irp) -> int:
            if DeviceObject == devices[1]:
                return complete(Irp)
            IoCopyCurrentIrpStackLocationToNext(Irp)
            IoSetCompletionRoutine(Irp, lower, NULL, TRUE, TRUE, TRUE)
            IoCallDriver(devices[1], Irp)
            seen.append("between")
            return complete(Irp)

        DriverObject.MajorFunction[IRP_MJ_READ] = read
        irp = read_irp(devices[0])
        IoSetCompletionRoutine(irp, upper, NULL, TRUE, TRUE, TRUE)
        IoCallDriver(devices[0], irp)

    run_driver(body)
    assert seen == ["lower", "between", "upper"]


@pytest.mark.parametrize("propagates", [True, False])
def test_pending_returned_is_the_lower_locations_and_goes_up_only_if_marked(
    run_driver, propagates: bool
) -> None:
    seen = []

    def middle(DeviceObject, Irp, Context) -> int:
        seen.append(Irp.PendingReturned)
        if Irp.PendingReturned and propagates:
            IoMarkIrpPending(Irp)
        return STATUS_CONTINUE_COMPLETION

    def top(DeviceObject, Irp, Context) -> int:
        seen.append(Irp.PendingReturned)
        return MORE

    def body(DriverObject) -> None:
        devices = stack_of(DriverObject, 2)

        def read(DeviceObject, Irp) -> int:
            if DeviceObject == devices[1]:
                IoMarkIrpPending(Irp)
                complete(Irp)
                return STATUS_PENDING
            IoCopyCurrentIrpStackLocationToNext(Irp)
            IoSetCompletionRoutine(Irp, middle, NULL, TRUE, TRUE, TRUE)
            return IoCallDriver(devices[1], Irp)

        DriverObject.MajorFunction[IRP_MJ_READ] = read
        irp = read_irp(devices[0])
        IoSetCompletionRoutine(irp, top, NULL, TRUE, TRUE, TRUE)
        IoCallDriver(devices[0], irp)

    run_driver(body)
    assert seen == [1, int(propagates)]


# Fatal mistakes


def test_a_stack_deeper_than_the_irp_bugchecks_0x35_before_the_dispatch_routine(
    bugcheck_of,
) -> None:
    seen = []

    def body(DriverObject) -> None:
        devices = stack_of(DriverObject, 2)

        def read(DeviceObject, Irp) -> int:
            seen.append(devices.index(DeviceObject))
            return IoCallDriver(devices[1], Irp)

        DriverObject.MajorFunction[IRP_MJ_READ] = read
        irp = read_irp(devices[0], stack_size=1)
        seen.append(int(irp))
        IoCallDriver(devices[0], irp)

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters) == (0x35, (seen[0], 0, 0, 0))
    assert seen[1:] == [0]


def test_completing_an_irp_twice_bugchecks_0x44(bugcheck_of) -> None:
    """Parameter 2 was 0x1232 in a dump (sysnative 36391)."""
    seen = []

    def read(DeviceObject, Irp) -> int:
        complete(Irp)
        return complete(Irp)

    def body(DriverObject) -> None:
        DriverObject.MajorFunction[IRP_MJ_READ] = read
        (device,) = stack_of(DriverObject, 1)
        irp = read_irp(device)
        seen.append(int(irp))
        IoCallDriver(device, irp)

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters) == (0x44, (seen[0], 0x1232, 0, 0))


def test_completing_with_a_cancel_routine_set_bugchecks_0x48(bugcheck_of) -> None:
    seen = []

    def cancel(DeviceObject, Irp) -> None: ...

    def read(DeviceObject, Irp) -> int:
        IoSetCancelRoutine(Irp, cancel)
        seen.append((int(Irp), Irp.CancelRoutine))
        return complete(Irp)

    def body(DriverObject) -> None:
        DriverObject.MajorFunction[IRP_MJ_READ] = read
        (device,) = stack_of(DriverObject, 1)
        IoCallDriver(device, read_irp(device))

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters) == (0x48, (*seen[0], 0, 0))


def test_calling_a_driver_with_a_null_device_is_an_access_violation(bugcheck_of) -> None:
    stop = bugcheck_of(lambda: IoCallDriver(NULL, IoAllocateIrp(1, FALSE)))
    assert (stop.code, stop.parameters[0]) == (0x7E, STATUS_ACCESS_VIOLATION)


def test_a_reused_irp_is_as_new_but_for_its_allocation_flags(value_of) -> None:
    def body() -> list:
        irp = IoAllocateIrp(2, FALSE)
        irp.AllocationFlags = 0x5A
        IoSetNextIrpStackLocation(irp)
        irp.Cancel = TRUE
        IoReuseIrp(irp, STATUS_TIMEOUT)
        return [
            irp.CurrentLocation,
            irp.AllocationFlags,
            irp.Cancel,
            irp.IoStatus.Status,
            IoGetCurrentIrpStackLocation(irp) - irp,
        ]

    assert value_of(body) == [3, 0x5A, 0, STATUS_TIMEOUT, 0xD0 + 2 * 0x48]


def test_an_irp_in_the_drivers_own_memory_can_be_initialized(value_of) -> None:
    def body() -> list:
        size = IoSizeOfIrp(2)
        irp = cast(ExAllocatePoolWithTag(NonPagedPoolNx, size, 1), PIRP)
        IoInitializeIrp(irp, size, 2)
        return [irp.Type, irp.Size - size, irp.StackCount, irp.CurrentLocation]

    assert value_of(body) == [6, 0, 2, 3]


def test_many_irps_are_allocated_freed_and_used_again(value_of) -> None:
    def body() -> int:
        for _ in range(3):
            irps = [IoAllocateIrp(count % 5 + 1, FALSE) for count in range(500)]
            for irp in irps:
                IoFreeIrp(irp)
        return len({int(irp) for irp in irps})

    assert value_of(body) == 500
