"""Driver Verifier: miscellaneous and security checks, low resources, pending, delays.

Source: WDK "Miscellaneous Checks", "Security Checks", "Low Resources Simulation", "Force Pending
I/O Requests"; Bug Check 0xC4, Bug Check 0xC7.
"""

import pytest

from ntsim import win32
from ntsim.errors import BugCheck
from ntsim.wdm import *

MISC, SECURITY = {"verifier": "misc"}, {"verifier": "security"}


def memory(size: int, kind, pool: int = NonPagedPoolNx):
    return cast(ExAllocatePoolWithTag(pool, size, 1), kind)


def seen(bugcheck) -> tuple:
    return (bugcheck.code, *bugcheck.parameters)


def idle_dpc(Dpc, Context, One, Two) -> None:
    pass


@pytest.mark.parametrize("verifier", ["misc", "misc,special-pool"])
def test_freeing_an_active_timer(bugcheck_of, verifier: str) -> None:
    where = []

    def body() -> None:
        block = ExAllocatePoolWithTag(NonPagedPoolNx, 0x80, 1)
        where.append(block)
        timer = cast(block + 0x20, PKTIMER)
        KeInitializeTimer(timer)
        KeSetTimer(timer, -10_000_000, NULL)
        ExFreePool(block)

    found = seen(bugcheck_of(body, verifier=verifier))
    assert found == (0xC7, 0, where[0] + 0x20, where[0], where[0] + 0x80)


def test_a_timer_that_was_cancelled_may_be_freed(run_driver) -> None:
    def body() -> None:
        timer = memory(0x40, PKTIMER)
        KeInitializeTimer(timer)
        KeSetTimer(timer, -10_000_000, NULL)
        KeCancelTimer(timer)
        ExFreePool(timer)

    run_driver(body, verifier="standard")


def test_freeing_a_queued_dpc(bugcheck_of) -> None:
    def body() -> None:
        dpc = memory(0x40, PKDPC)
        KeInitializeDpc(dpc, idle_dpc, NULL)
        KeRaiseIrql(DISPATCH_LEVEL)
        KeInsertQueueDpc(dpc, NULL, NULL)
        ExFreePool(dpc)

    assert seen(bugcheck_of(body, **MISC))[:2] == (0xC7, 1)


def test_a_dpc_routine_that_enters_a_critical_region(bugcheck_of) -> None:
    def routine(Dpc, Context, One, Two) -> None:
        thread = cast(KeGetCurrentThread(), PKTHREAD)
        thread.KernelApcDisable -= 1

    def body() -> None:
        dpc = memory(0x40, PKDPC)
        KeInitializeDpc(dpc, routine, NULL)
        KeInsertQueueDpc(dpc, NULL, NULL)

    code, kind, _, before, now = seen(bugcheck_of(body, **MISC))
    assert (code, kind, before, now) == (0xC7, 4, 0, 0xFFFF)


def test_unloading_with_a_timer_whose_dpc_is_in_the_driver(ntsim_machine) -> None:
    def unload(DriverObject) -> None:
        pass

    def DriverEntry(DriverObject, RegistryPath) -> int:
        DriverObject.DriverUnload = unload
        timer, dpc = memory(0x40, PKTIMER), memory(0x40, PKDPC)
        KeInitializeDpc(dpc, idle_dpc, NULL)
        KeInitializeTimer(timer)
        KeSetTimer(timer, -10_000_000, dpc)
        return STATUS_SUCCESS

    machine = ntsim_machine(**MISC)
    driver = machine.load_driver(DriverEntry, name="drv.sys")
    with pytest.raises(BugCheck) as caught:
        machine.unload_driver(driver)
    code, kind, routine, start, end = seen(caught.value)
    assert (code, kind) == (0xC7, 2) and start <= routine < end
    assert "drv!idle_dpc is still to run" in machine.report().summary


def test_freeing_an_active_resource_or_lookaside_list(bugcheck_of) -> None:
    where = []

    def resource() -> None:
        made = memory(0x80, PERESOURCE)
        where.append(int(made))
        ExInitializeResourceLite(made)
        ExFreePool(made)

    def lookaside() -> None:
        made = memory(0x80, PNPAGED_LOOKASIDE_LIST)
        ExInitializeNPagedLookasideList(made, NULL, NULL, 0, 32, 1, 0)
        ExFreePool(made)

    assert seen(bugcheck_of(resource, **MISC)) == (0xC4, 0xD2, where[0], where[0], 0x80)
    assert bugcheck_of(lookaside, **MISC).parameters[0] == 0xCC


def test_initializing_twice_or_deleting_what_is_not_initialized(bugcheck_of) -> None:
    def twice() -> None:
        made = memory(0x68, PERESOURCE)
        ExInitializeResourceLite(made)
        ExInitializeResourceLite(made)

    def never() -> None:
        ExDeleteResourceLite(memory(0x68, PERESOURCE))

    def lookaside_twice() -> None:
        made = memory(0x80, PNPAGED_LOOKASIDE_LIST)
        for _ in range(2):
            ExInitializeNPagedLookasideList(made, NULL, NULL, 0, 32, 1, 0)

    def lookaside_never() -> None:
        ExDeleteNPagedLookasideList(memory(0x80, PNPAGED_LOOKASIDE_LIST))

    def tiny() -> None:
        made = memory(0x80, PNPAGED_LOOKASIDE_LIST)
        ExInitializeNPagedLookasideList(made, NULL, NULL, 0, 4, 1, 0)

    bodies = {0xD0: twice, 0xD1: never, 0xCA: lookaside_twice, 0xCB: lookaside_never, 0xCD: tiny}
    for kind, body in bodies.items():
        assert bugcheck_of(body, **MISC).parameters[0] == kind


def test_memcpy_of_overlapping_buffers(bugcheck_of) -> None:
    def body() -> None:
        block = ExAllocatePoolWithTag(NonPagedPoolNx, 64, 1)
        memcpy(block + 8, block, 16)

    assert bugcheck_of(body, **MISC).parameters[0] == 0xF0


# Security


def test_a_user_mode_address_for_a_zw_routine(crash_of) -> None:
    def device_control(DeviceObject, Irp) -> int:
        ZwOpenFile(Irp.UserBuffer, 0, NULL, NULL, 0, 0)
        return STATUS_SUCCESS

    def app() -> None:
        access = win32.GENERIC_READ | win32.GENERIC_WRITE
        thing = win32.CreateFile("\\\\.\\Thing", access, 0, None, win32.OPEN_EXISTING, 0, None)
        win32.DeviceIoControl(thing, 0x222000, None, 64)

    found, _ = crash_of(app, options=SECURITY, device_control=device_control)
    assert seen(found)[:2] == (0xC4, 0xE3)
    assert 0x10000 <= found.parameters[2] < 1 << 47


def test_a_malformed_unicode_string_for_a_zw_routine(bugcheck_of) -> None:
    def body() -> None:
        name, attributes = UNICODE_STRING("\\Registry\\Machine"), OBJECT_ATTRIBUTES()
        bad = UNICODE_STRING()
        bad.Buffer, bad.Length, bad.MaximumLength = name.Buffer, 7, 20
        InitializeObjectAttributes(attributes, bad, OBJ_KERNEL_HANDLE, NULL, NULL)
        ZwOpenKey(KEY_READ, attributes)

    assert bugcheck_of(body, **SECURITY).parameters[0] == 0xE4


def test_a_zw_routine_in_a_guarded_region(bugcheck_of) -> None:
    def body() -> None:
        KeEnterGuardedRegion()
        ZwClose(0)

    kind, caller, level, special = bugcheck_of(body, **SECURITY).parameters
    assert (kind, level, special) == (0xE6, 0, 0xFFFF) and caller


def test_an_object_in_paged_pool(bugcheck_of) -> None:
    def body() -> None:
        KeInitializeEvent(memory(0x18, PKEVENT, PagedPool), NotificationEvent, FALSE)

    for verifier in ("security", "security,special-pool"):
        assert bugcheck_of(body, verifier=verifier).parameters[0] == 0xE1


def test_an_object_at_a_user_mode_address(bugcheck_of) -> None:
    found = bugcheck_of(
        lambda: KeInitializeEvent(cast(0x20000, PKEVENT), NotificationEvent, FALSE), **SECURITY
    )
    assert seen(found) == (0xC4, 0xE0, 0x20000, 0x18, 0)


def test_a_kernel_irp_with_a_user_mode_address(bugcheck_of) -> None:
    def body(DriverObject) -> None:
        _, device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        irp = IoAllocateIrp(1, FALSE)
        irp.UserBuffer = 0x20000
        IoCallDriver(device, irp)

    kind, _, address, _ = bugcheck_of(body, **SECURITY).parameters
    assert (kind, address) == (0xE2, 0x20000)


def test_handles_that_are_null_bad_or_an_apps(bugcheck_of, crash_of) -> None:
    def null() -> None:
        ObReferenceObjectByHandle(0, 0, NULL, KernelMode, NULL)

    def bad() -> None:
        ObReferenceObjectByHandle(0xFFFFFFFF80004440, 0, NULL, KernelMode, NULL)

    def device_control(DeviceObject, Irp) -> int:
        ObReferenceObjectByHandle(4, 0, NULL, KernelMode, NULL)
        return STATUS_SUCCESS

    assert bugcheck_of(null, **SECURITY).parameters[0] == 0xF5
    assert bugcheck_of(bad, **SECURITY).parameters[:2] == (0x3C, 0xFFFFFFFF80004440)
    found, _ = crash_of(options=SECURITY, device_control=device_control)
    assert found.parameters[:2] == (0xF6, 4)


# Low resources


def allocations(count: int) -> list[bool]:
    return [ExAllocatePoolWithTag(NonPagedPoolNx, 16, 1) != 0 for _ in range(count)]


def test_some_allocations_fail_by_the_seed(value_of) -> None:
    first = value_of(lambda: allocations(400), verifier="low-resources")
    again = value_of(lambda: allocations(400), verifier="low-resources")
    other = value_of(lambda: allocations(400), verifier="low-resources", seed=5)
    assert first == again != other
    assert 5 <= first.count(False) <= 60  # 6 % of 400 are 24


def test_every_call_stack_fails_once(value_of) -> None:
    def one() -> bool:
        return ExAllocatePoolWithTag(NonPagedPoolNx, 16, 1) != 0

    def body() -> list:
        found = []
        for _ in range(3):
            found.append(one())
            found.append(IoAllocateIrp(1, FALSE) != NULL)
        return found

    assert value_of(body, verifier="systematic-low-resources") == [False, False] + [True] * 4


def test_a_driver_that_does_not_check_is_found_with_the_failure_in_its_report(
    ntsim_machine,
) -> None:
    def DriverEntry(DriverObject, RegistryPath) -> int:
        block = cast(ExAllocatePoolWithTag(NonPagedPoolNx, 16, 1), PULONG)
        KeRaiseIrql(DISPATCH_LEVEL)
        block[0] = 1
        return STATUS_SUCCESS

    machine = ntsim_machine(verifier="systematic-low-resources")
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(DriverEntry, name="drv.sys")
    assert seen(caught.value)[:2] == (0xD1, 0)
    assert "ExAllocatePoolWithTag failed: low resources were simulated" in " ".join(
        machine.report().to_text().split()
    )


# Force pending and delays


def stacked(seen_status: list):
    """A driver with two devices: the upper one passes everything down."""

    def device_control(DeviceObject, Irp) -> int:
        if DeviceObject == below[0]:
            Irp.IoStatus.Status, Irp.IoStatus.Information = STATUS_SUCCESS, 0
            IoCompleteRequest(Irp, IO_NO_INCREMENT)
            return STATUS_SUCCESS
        IoSkipCurrentIrpStackLocation(Irp)
        status = IoCallDriver(below[0], Irp)
        seen_status.append(status)
        return status

    below = []

    def device(DeviceObject) -> None:
        _, made = IoCreateDevice(DeviceObject.DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        below.append(made)
        DeviceObject.StackSize = 2

    return {"device_control": device_control, "device": device}


def test_what_is_sent_down_comes_back_pending_and_completes(run_app) -> None:
    forced, usual = [], []
    run_app(options={"verifier": "force-pending,io"}, **stacked(forced))
    run_app(options={"verifier": "io"}, **stacked(usual))
    assert (forced, usual) == ([STATUS_PENDING], [STATUS_SUCCESS])


def test_a_driver_that_frees_its_irp_when_the_call_returns_is_found(
    run_driver, bugcheck_of
) -> None:
    """It works as long as the lower driver completes at once."""

    def lower(DeviceObject, Irp) -> int:
        Irp.IoStatus.Status, Irp.IoStatus.Information = STATUS_SUCCESS, 0
        IoCompleteRequest(Irp, IO_NO_INCREMENT)
        return STATUS_SUCCESS

    def completed(DeviceObject, Irp, Context) -> int:
        return STATUS_MORE_PROCESSING_REQUIRED

    def body(DriverObject) -> None:
        DriverObject.MajorFunction[IRP_MJ_READ] = lower
        _, device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        irp = IoAllocateIrp(device.StackSize, FALSE)
        IoGetNextIrpStackLocation(irp).MajorFunction = IRP_MJ_READ
        IoSetCompletionRoutine(irp, completed, NULL, TRUE, TRUE, TRUE)
        IoCallDriver(device, irp)
        IoFreeIrp(irp)

    run_driver(body, verifier="io")
    assert seen(bugcheck_of(body, verifier="io,force-pending"))[:2] == (0xC9, 0x20A)


def test_delay_fuzzing_finds_a_race_that_the_schedule_hides(ntsim_machine) -> None:
    """Two threads add to a counter; only a call lies between load and store."""

    def run(**options) -> int:
        total = []

        def DriverEntry(DriverObject, RegistryPath) -> int:
            shared = memory(16, PULONGLONG)
            shared[0] = 0
            ready = memory(0x18, PKEVENT)
            done = memory(0x20, PKSEMAPHORE)
            KeInitializeSemaphore(done, 0, 2)
            KeInitializeEvent(ready, NotificationEvent, FALSE)

            def thread(Context) -> None:
                for _ in range(10):
                    value = shared[0]
                    KeSetEvent(ready, 0, FALSE)
                    shared[0] = value + 1
                KeReleaseSemaphore(done, 0, 1, FALSE)

            for _ in range(2):
                PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, thread, NULL)
            for _ in range(2):
                KeWaitForSingleObject(done, Executive, KernelMode, FALSE, NULL)
            total.append(shared[0])
            return STATUS_SUCCESS

        machine = ntsim_machine(processors=2, **options)
        machine.load_driver(DriverEntry, name="drv.sys")
        return total[0]

    assert run(verifier="delay-fuzzing") < 20
    assert run(verifier="delay-fuzzing") == run(verifier="delay-fuzzing")
