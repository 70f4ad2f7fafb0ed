"""Driver Verifier and IRPs: what is sent, completed, freed and returned.

Source: WDK Bug Check 0xC9: DRIVER_VERIFIER_IOMANAGER_VIOLATION; Bug Check 0xC4 (0xC0, 0xC1, 0xC5,
0xFA, 0xFB); "I/O Verification"; dumps for 0x226.
"""

import pytest

from ntsim import win32
from ntsim.errors import BugCheck
from ntsim.intrin import *
from ntsim.wdm import *

IO = {"verifier": "io"}
CODE = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)


def open_thing():
    access = win32.GENERIC_READ | win32.GENERIC_WRITE
    return win32.CreateFile("\\\\.\\Thing", access, 0, None, win32.OPEN_EXISTING, 0, None)


def done(Irp, status=STATUS_SUCCESS, information: int = 0) -> int:
    Irp.IoStatus.Status = status
    Irp.IoStatus.Information = information
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return status


def seen(bugcheck) -> tuple:
    return (bugcheck.code, *bugcheck.parameters)


@pytest.fixture
def code_of(crash_of):
    """(code, four parameters, report) of a device-control routine under I/O verification."""

    def run(routine, options=None, **others):
        found, machine = crash_of(options=options or IO, device_control=routine, **others)
        report = machine.report()
        text = f"{report.summary} {report.to_text()}"
        return (*seen(found), " ".join(text.split()))

    return run


def test_completing_with_status_pending(code_of) -> None:
    where = []

    def routine(DeviceObject, Irp) -> int:
        where.append(int(Irp))
        IoMarkIrpPending(Irp)
        return done(Irp, STATUS_PENDING)

    assert code_of(routine)[:5] == (0xC9, 0x6, STATUS_PENDING, where[0], 0)


def test_completing_with_minus_one(code_of) -> None:
    assert code_of(lambda DeviceObject, Irp: done(Irp, 0xFFFFFFFF))[:3] == (0xC9, 0x6, 0xFFFFFFFF)


def test_completing_with_the_cancel_routine_set(code_of) -> None:
    where = []

    def cancel(DeviceObject, Irp) -> None:
        IoReleaseCancelSpinLock(Irp.CancelIrql)

    def routine(DeviceObject, Irp) -> int:
        IoSetCancelRoutine(Irp, cancel)
        where.append((int(Irp.CancelRoutine), int(Irp)))
        return done(Irp)

    assert code_of(routine)[:5] == (0xC9, 0x7, *where[0], 0)


def test_completing_above_dispatch_level(code_of) -> None:
    def routine(DeviceObject, Irp) -> int:
        KeRaiseIrql(HIGH_LEVEL)
        return done(Irp)

    assert code_of(routine, {"verifier": "misc"})[:3] == (0xC9, 0xE, HIGH_LEVEL)


def test_more_information_than_there_is_buffer(crash_of) -> None:
    def app() -> None:
        win32.DeviceIoControl(open_thing(), CODE, None, 8)

    def routine(DeviceObject, Irp) -> int:
        return done(Irp, STATUS_SUCCESS, 9)

    found, _ = crash_of(app, options=IO, device_control=routine)
    assert seen(found)[:2] == (0xC9, 0x312)


def test_returning_at_another_irql(code_of) -> None:
    def routine(DeviceObject, Irp) -> int:
        KeRaiseIrql(DISPATCH_LEVEL)
        return done(Irp)

    code, kind, address, before, now, text = code_of(routine, {"verifier": "misc"})
    assert (code, kind, before, now) == (0xC9, 0x12, 0, 2)
    assert address
    assert "IMAGE_NAME: thing.sys" in text
    assert "was called at PASSIVE_LEVEL and returned at DISPATCH_LEVEL" in text


def test_returning_at_another_irql_by_the_rule_alone(code_of) -> None:
    def routine(DeviceObject, Irp) -> int:
        KeRaiseIrql(DISPATCH_LEVEL)
        return done(Irp)

    assert code_of(routine, {"verifier": "IrqlReturn"})[:2] == (0xC4, 0x2001D)


def test_returning_with_interrupts_disabled(code_of) -> None:
    def routine(DeviceObject, Irp) -> int:
        done(Irp)
        _disable()
        return STATUS_SUCCESS

    assert code_of(routine)[:2] == (0xC4, 0xC1)


def test_returning_inside_a_critical_region(code_of) -> None:
    def routine(DeviceObject, Irp) -> int:
        KeEnterCriticalRegion()
        return done(Irp)

    code, kind, _, now, before, _ = code_of(routine, {"verifier": "misc"})
    assert (code, kind, now, before) == (0xC4, 0xC5, 0xFFFF, 0)


@pytest.mark.parametrize(
    ("returned", "kind", "word"),
    [
        (STATUS_UNSUCCESSFUL, 0x224, "returned STATUS_UNSUCCESSFUL"),
        (0xFFFFFFFF, 0x225, "never set"),
        (STATUS_PENDING, 0x23D, "IoMarkIrpPending"),
    ],
)
def test_a_returned_status_that_does_not_agree(code_of, returned, kind, word) -> None:
    def routine(DeviceObject, Irp) -> int:
        done(Irp)
        return returned

    found = code_of(routine)
    assert found[:2] == (0xC9, kind)
    assert word in found[5] and "was completed" in found[5]


def test_marked_pending_and_returned_otherwise(code_of) -> None:
    def routine(DeviceObject, Irp) -> int:
        IoMarkIrpPending(Irp)
        return done(Irp)

    assert code_of(routine)[:2] == (0xC9, 0x23E)


def test_neither_completed_nor_pending(code_of) -> None:
    found = code_of(lambda DeviceObject, Irp: STATUS_SUCCESS)
    assert found[:2] == (0xC9, 0x226)
    assert "neither completed the IRP nor passed it down" in found[5]


def test_pending_and_not_marked(code_of) -> None:
    assert code_of(lambda DeviceObject, Irp: STATUS_PENDING)[:2] == (0xC9, 0x23D)


def test_irp_logging_tells_what_the_device_was_sent(code_of) -> None:
    found = code_of(lambda DeviceObject, Irp: STATUS_SUCCESS, {"verifier": "io,irp-logging"})
    assert "was sent IRP_MJ_CREATE" in found[5] and "was sent IRP_MJ_DEVICE_CONTROL" in found[5]


def test_a_correct_request_passes(run_app) -> None:
    kept = []

    def routine(DeviceObject, Irp) -> int:
        if kept:
            return done(Irp)
        IoMarkIrpPending(Irp)
        kept.append(Irp)
        dpc, timer = storage(64, PKDPC), storage(64, PKTIMER)
        KeInitializeDpc(dpc, complete_later, NULL)
        KeInitializeTimer(timer)
        KeSetTimer(timer, -1000, dpc)
        return STATUS_PENDING

    def complete_later(Dpc, Context, One, Two) -> None:
        done(kept[0])

    run_app(options={"verifier": "standard"}, device_control=routine)


def storage(size: int, kind):
    return cast(ExAllocatePoolWithTag(NonPagedPoolNx, size, 1), kind)


# IRPs of a driver's own


def device_of(DriverObject):
    _, device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
    device.Flags &= ~DO_DEVICE_INITIALIZING
    return device


def keep(DeviceObject, Irp) -> int:
    IoMarkIrpPending(Irp)
    return STATUS_PENDING


def sent_irp(DriverObject):
    """An IRP that the device's dispatch routine keeps."""
    DriverObject.MajorFunction[IRP_MJ_READ] = keep
    device = device_of(DriverObject)
    irp = IoAllocateIrp(device.StackSize, FALSE)
    IoGetNextIrpStackLocation(irp).MajorFunction = IRP_MJ_READ
    IoCallDriver(device, irp)
    return irp


def test_freeing_an_irp_twice(bugcheck_of) -> None:
    def body() -> None:
        irp = IoAllocateIrp(1, FALSE)
        IoFreeIrp(irp)
        IoFreeIrp(irp)

    assert seen(bugcheck_of(body, **IO))[:2] == (0xC9, 0x1)


def test_freeing_or_reusing_an_irp_that_is_on_its_way(bugcheck_of) -> None:
    def free(DriverObject) -> None:
        IoFreeIrp(sent_irp(DriverObject))

    def reuse(DriverObject) -> None:
        IoReuseIrp(sent_irp(DriverObject), STATUS_SUCCESS)

    assert bugcheck_of(free, **IO).parameters[0] == 0x20A
    assert bugcheck_of(reuse, **IO).parameters[0] == 0x310


def test_freeing_an_irp_that_belongs_to_a_thread(bugcheck_of) -> None:
    def body(DriverObject) -> None:
        event, block = KEVENT(), IO_STATUS_BLOCK()
        KeInitializeEvent(event, NotificationEvent, FALSE)
        device = device_of(DriverObject)
        IoFreeIrp(
            IoBuildDeviceIoControlRequest(0x222000, device, NULL, 0, NULL, 0, FALSE, event, block)
        )

    assert bugcheck_of(body, **IO).parameters[0] == 0x2


def test_initializing_an_allocated_irp(bugcheck_of) -> None:
    def body() -> None:
        irp = IoAllocateIrp(1, FALSE)
        IoInitializeIrp(irp, IoSizeOfIrp(1), 1)

    assert bugcheck_of(body, **IO).parameters[0] == 0x20D


def test_sending_what_is_no_irp_or_to_no_device(bugcheck_of) -> None:
    def no_irp(DriverObject) -> None:
        irp = IoAllocateIrp(1, FALSE)
        IoFreeIrp(irp)
        IoCallDriver(device_of(DriverObject), irp)

    def no_device() -> None:
        IoCallDriver(cast(KEVENT(), PDEVICE_OBJECT), IoAllocateIrp(1, FALSE))

    def null() -> None:
        IoCallDriver(NULL, IoAllocateIrp(1, FALSE))

    assert bugcheck_of(no_irp, **IO).parameters[0] == 0x3
    assert bugcheck_of(no_device, **IO).parameters[0] == 0x4
    assert bugcheck_of(null, **IO).parameters[0] == 0x204


def test_sending_without_a_stack_location(bugcheck_of) -> None:
    def body(DriverObject) -> None:
        irp = IoAllocateIrp(1, FALSE)
        IoSetNextIrpStackLocation(irp)
        IoCallDriver(device_of(DriverObject), irp)

    assert seen(bugcheck_of(body, **IO))[:2] == (0xC9, 0x208)
    assert bugcheck_of(body).code == 0x35


def test_sending_above_dispatch_level_or_with_interrupts_disabled(bugcheck_of) -> None:
    def high(DriverObject) -> None:
        device = device_of(DriverObject)
        KeRaiseIrql(HIGH_LEVEL)
        IoCallDriver(device, IoAllocateIrp(1, FALSE))

    def disabled(DriverObject) -> None:
        device, irp = device_of(DriverObject), IoAllocateIrp(1, FALSE)
        _disable()
        IoCallDriver(device, irp)

    assert seen(bugcheck_of(high, verifier="misc")) == (0xC9, 0x10, HIGH_LEVEL, 0, 0)
    assert seen(bugcheck_of(disabled, verifier="misc"))[:2] == (0xC4, 0xC0)


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (lambda: KeRaiseIrql(DISPATCH_LEVEL), (0xC4, 0xFA)),
        (lambda: KeEnterCriticalRegion(), (0xC4, 0xFB)),
    ],
)
def test_a_completion_routine_that_changes_the_thread(bugcheck_of, act, kind) -> None:
    def completed(DeviceObject, Irp, Context) -> int:
        act()
        return STATUS_MORE_PROCESSING_REQUIRED

    def body(DriverObject) -> None:
        irp = IoAllocateIrp(1, FALSE)
        IoSetCompletionRoutine(irp, completed, NULL, TRUE, TRUE, TRUE)
        IoCallDriver(device_of(DriverObject), irp)

    assert seen(bugcheck_of(body, verifier="misc"))[:2] == kind


def test_a_completion_routine_that_forgets_the_pending_mark(crash_of) -> None:
    kept = []

    def completed(DeviceObject, Irp, Context) -> int:
        return STATUS_SUCCESS

    def lower(DeviceObject, Irp) -> int:
        IoMarkIrpPending(Irp)
        kept.append(Irp)
        return STATUS_PENDING

    def device_control(DeviceObject, Irp) -> int:
        below = devices[0]
        if DeviceObject == below:
            return lower(DeviceObject, Irp)
        IoCopyCurrentIrpStackLocationToNext(Irp)
        IoSetCompletionRoutine(Irp, completed, NULL, TRUE, TRUE, TRUE)
        IoCallDriver(below, Irp)
        done(kept[0])
        return STATUS_PENDING

    devices = []

    def device(DeviceObject) -> None:
        devices.append(device_of(DeviceObject.DriverObject))
        DeviceObject.StackSize = 2

    found, _ = crash_of(options=IO, device_control=device_control, device=device)
    assert seen(found)[:2] == (0xC9, 0x228)


def test_devices_detached_or_deleted_wrongly(bugcheck_of) -> None:
    def detach(DriverObject) -> None:
        IoDetachDevice(device_of(DriverObject))

    def attached(DriverObject) -> None:
        lower, upper = device_of(DriverObject), device_of(DriverObject)
        IoAttachDeviceToDeviceStack(upper, lower)
        IoDeleteDevice(upper)

    assert bugcheck_of(detach, **IO).parameters[0] == 0x202
    assert bugcheck_of(attached, **IO).parameters[0] == 0x201


def test_completing_an_irp_that_was_never_sent(bugcheck_of) -> None:
    assert bugcheck_of(lambda: done(IoAllocateIrp(1, FALSE)), **IO).parameters[0] == 0x239


def test_a_device_with_both_transfer_methods(bugcheck_of) -> None:
    def body(DriverObject) -> None:
        device = device_of(DriverObject)
        device.Flags |= DO_BUFFERED_IO | DO_DIRECT_IO
        IoCallDriver(device, IoAllocateIrp(1, FALSE))

    assert bugcheck_of(body, **IO).parameters[0] == 0x245


@pytest.mark.parametrize(
    ("major", "kind"),
    [(IRP_MJ_PNP, 0x20E), (IRP_MJ_POWER, 0x20F), (IRP_MJ_SYSTEM_CONTROL, 0x210)],
)
def test_a_pnp_power_or_wmi_irp_starts_as_not_supported(bugcheck_of, major, kind) -> None:
    def body(DriverObject) -> None:
        irp = IoAllocateIrp(1, FALSE)
        IoGetNextIrpStackLocation(irp).MajorFunction = major
        IoCallDriver(device_of(DriverObject), irp)

    assert bugcheck_of(body, **IO).parameters[0] == kind


@pytest.mark.parametrize(("major", "kind"), [(IRP_MJ_PNP, 0x215), (IRP_MJ_POWER, 0x219)])
def test_a_failed_pnp_or_power_irp_is_not_passed_down(bugcheck_of, major, kind) -> None:
    def body(DriverObject) -> None:
        lower, upper = device_of(DriverObject), device_of(DriverObject)
        IoAttachDeviceToDeviceStack(upper, lower)

        def pass_on(DeviceObject, Irp) -> int:
            Irp.IoStatus.Status = STATUS_UNSUCCESSFUL
            IoSkipCurrentIrpStackLocation(Irp)
            return IoCallDriver(lower, Irp)

        DriverObject.MajorFunction[major] = pass_on
        irp = IoAllocateIrp(2, FALSE)
        irp.IoStatus.Status = STATUS_NOT_SUPPORTED
        location = IoGetNextIrpStackLocation(irp)
        location.MajorFunction, location.MinorFunction = major, IRP_MN_QUERY_INTERFACE
        IoCallDriver(upper, irp)

    assert bugcheck_of(body, **IO).parameters[0] == kind


def request_of(device, event, block):
    return IoBuildDeviceIoControlRequest(0x222000, device, NULL, 0, NULL, 0, FALSE, event, block)


def test_a_request_whose_event_is_signalled_already(bugcheck_of) -> None:
    def body(DriverObject) -> None:
        DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = keep
        event, block = KEVENT(), IO_STATUS_BLOCK()
        KeInitializeEvent(event, NotificationEvent, TRUE)
        device = device_of(DriverObject)
        IoCallDriver(device, request_of(device, event, block))

    assert bugcheck_of(body, **IO).parameters[0] == 0x307


def test_a_status_block_of_a_routine_that_has_returned(ntsim_machine) -> None:
    """A thread does not wait for its request; its stack has gone on when that completes."""
    kept = []

    def hold(DeviceObject, Irp) -> int:
        kept.append(Irp)
        return keep(DeviceObject, Irp)

    def DriverEntry(DriverObject, RegistryPath) -> int:
        DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = hold
        device = device_of(DriverObject)
        event = cast(ExAllocatePoolWithTag(NonPagedPoolNx, 0x18, 1), PKEVENT)
        never = cast(ExAllocatePoolWithTag(NonPagedPoolNx, 0x18, 1), PKEVENT)
        for each in (event, never):
            KeInitializeEvent(each, NotificationEvent, FALSE)

        def send(DeviceObject, Context) -> None:
            block = IO_STATUS_BLOCK()
            IoCallDriver(device, request_of(device, event, block))

        def thread(Context) -> None:
            irp = IoAllocateIrp(1, FALSE)
            IoGetNextIrpStackLocation(irp).MajorFunction = IRP_MJ_READ
            IoCallDriver(device, irp)
            KeSetEvent(sent, 0, FALSE)
            KeWaitForSingleObject(never, Executive, KernelMode, FALSE, NULL)

        def read(DeviceObject, Irp) -> int:
            send(DeviceObject, NULL)
            return keep(DeviceObject, Irp)

        DriverObject.MajorFunction[IRP_MJ_READ] = read
        sent = cast(ExAllocatePoolWithTag(NonPagedPoolNx, 0x18, 1), PKEVENT)
        KeInitializeEvent(sent, NotificationEvent, FALSE)
        PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, thread, NULL)
        KeWaitForSingleObject(sent, Executive, KernelMode, FALSE, NULL)
        done(kept[0])
        return STATUS_SUCCESS

    machine = ntsim_machine(verifier="io")
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(DriverEntry, name="drv.sys")
    assert seen(caught.value)[:2] == (0xC9, 0xC)


def test_a_timer_initialized_twice(bugcheck_of) -> None:
    def routine(DeviceObject, Context) -> None:
        pass

    def body(DriverObject) -> None:
        device = device_of(DriverObject)
        IoInitializeTimer(device, routine, NULL)
        IoInitializeTimer(device, routine, NULL)

    assert bugcheck_of(body, **IO).parameters[0] == 0xA
