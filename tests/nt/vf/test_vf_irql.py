"""Driver Verifier's automatic checks of levels, locks and regions, and the rules about them.

Source: WDK Bug Check 0xC4: DRIVER_VERIFIER_DETECTED_VIOLATION; the pages of the DDI rules.
"""

import pytest

from ntsim.abi import routines
from ntsim.errors import BugCheck
from ntsim.wdm import *

AUTOMATIC = "misc"
"""Any option brings the automatic checks."""


def seen(bugcheck) -> tuple:
    return (bugcheck.code, *bugcheck.parameters)


def test_raising_to_a_lower_level(bugcheck_of) -> None:
    def body() -> None:
        KeRaiseIrql(DISPATCH_LEVEL)
        KeRaiseIrql(APC_LEVEL)

    assert seen(bugcheck_of(body, verifier=AUTOMATIC)) == (0xC4, 0x30, 2, 1, 0)


def test_raising_to_dispatch_level_from_above(bugcheck_of) -> None:
    def body() -> None:
        KeRaiseIrql(HIGH_LEVEL)
        KeRaiseIrqlToDpcLevel()

    assert seen(bugcheck_of(body, verifier=AUTOMATIC)) == (0xC4, 0x30, 15, 2, 0)


def test_raising_above_high_level(bugcheck_of) -> None:
    found = bugcheck_of(lambda: KfRaiseIrql(16), verifier=AUTOMATIC)
    assert seen(found) == (0xC4, 0x30, 0, 16, 0)


def test_lowering_to_a_higher_level(bugcheck_of) -> None:
    found = bugcheck_of(lambda: KeLowerIrql(DISPATCH_LEVEL), verifier=AUTOMATIC)
    assert seen(found) == (0xC4, 0x31, 0, 2, 0)


def test_lowering_inside_a_dpc(bugcheck_of) -> None:
    def routine(Dpc, Context, One, Two) -> None:
        KeLowerIrql(PASSIVE_LEVEL)

    def body() -> None:
        dpc = cast(ExAllocatePoolWithTag(NonPagedPoolNx, 64, 1), PKDPC)
        KeInitializeDpc(dpc, routine, NULL)
        KeInsertQueueDpc(dpc, NULL, NULL)

    assert seen(bugcheck_of(body, verifier=AUTOMATIC)) == (0xC4, 0x31, 2, 0, 1)


@pytest.mark.parametrize(
    ("level", "acquires", "kind"),
    [
        (3, lambda lock: KeAcquireSpinLock(lock), 0x42),
        (3, lambda lock: KeAcquireSpinLockRaiseToDpc(lock), 0x42),
        (0, lambda lock: KeReleaseSpinLock(lock, 0), 0x32),
        (1, lambda lock: KeAcquireSpinLockAtDpcLevel(lock), 0x40),
        (1, lambda lock: KeReleaseSpinLockFromDpcLevel(lock), 0x41),
    ],
)
def test_a_spin_lock_at_a_wrong_level(bugcheck_of, level: int, acquires, kind: int) -> None:
    where = []

    def body() -> None:
        lock = KSPIN_LOCK()
        where.append(int(lock))
        KeInitializeSpinLock(lock)
        KeRaiseIrql(level)
        acquires(lock)

    found = bugcheck_of(body, verifier=AUTOMATIC)
    assert seen(found) == (0xC4, kind, level, where[0], 0)


@pytest.mark.parametrize(
    ("level", "use", "kind"),
    [
        (2, lambda mutex: ExAcquireFastMutex(mutex), (0x33, 2)),
        (0, lambda mutex: ExReleaseFastMutex(mutex), (0x34, 0)),
        (0, lambda mutex: ExAcquireFastMutexUnsafe(mutex), (0x39, 0)),
        (0, lambda mutex: ExReleaseFastMutexUnsafe(mutex), (0x3A, 0)),
    ],
)
def test_a_fast_mutex_at_a_wrong_level(bugcheck_of, level: int, use, kind: tuple) -> None:
    where = []

    def body() -> None:
        mutex = cast(ExAllocatePoolWithTag(NonPagedPoolNx, 64, 1), PFAST_MUTEX)
        where.append(int(mutex))
        ExInitializeFastMutex(mutex)
        KeRaiseIrql(level)
        use(mutex)

    parameters = bugcheck_of(body, verifier=AUTOMATIC).parameters
    assert parameters[:2] == kind
    assert where[0] in parameters[2:]


@pytest.mark.parametrize(
    ("level", "timeout", "kind"), [(3, 0, 0x120), (2, None, 0x121), (2, -100, 0x122)]
)
def test_waiting_at_dispatch_level_or_above(run_driver, bugcheck_of, level, timeout, kind) -> None:
    where = []

    def body() -> None:
        event = KEVENT()
        where.append(int(event))
        KeInitializeEvent(event, NotificationEvent, FALSE)
        due = NULL
        if timeout is not None:
            due = LARGE_INTEGER()
            due.QuadPart = timeout
        KeRaiseIrql(level)
        KeWaitForSingleObject(event, Executive, KernelMode, FALSE, due)

    found = bugcheck_of(body, verifier=AUTOMATIC)
    assert found.code == 0xC4 and found.parameters[0] == kind and found.parameters[2] == where[0]
    assert bool(found.parameters[3]) is (timeout is not None)


def test_parameter_2_of_a_bad_wait_is_the_address_of_the_level(ntsim_machine) -> None:
    def DriverEntry(DriverObject, RegistryPath) -> int:
        event = KEVENT()
        KeInitializeEvent(event, NotificationEvent, FALSE)
        KeRaiseIrql(DISPATCH_LEVEL)
        KeWaitForSingleObject(event, Executive, KernelMode, FALSE, NULL)
        return STATUS_SUCCESS

    machine = ntsim_machine(verifier=AUTOMATIC)
    with pytest.raises(BugCheck):
        machine.load_driver(DriverEntry, name="drv.sys")
    assert machine.nt.read_pointer(machine.bugcheck.parameters[1]) == DISPATCH_LEVEL
    assert "a wait without timeout needs APC_LEVEL" in machine.report().to_text()


def test_a_zero_timeout_is_allowed_at_dispatch_level(value_of) -> None:
    def body() -> int:
        event, due = KEVENT(), LARGE_INTEGER()
        KeInitializeEvent(event, NotificationEvent, FALSE)
        KeRaiseIrql(DISPATCH_LEVEL)
        status = KeWaitForSingleObject(event, Executive, KernelMode, FALSE, due)
        KeLowerIrql(PASSIVE_LEVEL)
        return status

    assert value_of(body, verifier="standard") == STATUS_TIMEOUT


def test_a_user_mode_wait_for_an_event_on_the_stack(bugcheck_of) -> None:
    def body() -> None:
        event = KEVENT()
        KeInitializeEvent(event, NotificationEvent, TRUE)
        KeWaitForSingleObject(event, UserRequest, UserMode, FALSE, NULL)

    found = bugcheck_of(body, verifier=AUTOMATIC)
    assert (found.code, found.parameters[0], found.parameters[2:]) == (0xC4, 0x123, (0, 0))


def test_setting_an_event_above_dispatch_level(bugcheck_of) -> None:
    def body() -> None:
        event = KEVENT()
        KeInitializeEvent(event, NotificationEvent, FALSE)
        KeRaiseIrql(HIGH_LEVEL)
        KeSetEvent(event, 0, FALSE)

    assert bugcheck_of(body, verifier=AUTOMATIC).parameters[:2] == (0x80, HIGH_LEVEL)


def test_critical_regions(bugcheck_of) -> None:
    def at_dispatch(routine) -> None:
        KeRaiseIrql(DISPATCH_LEVEL)
        routine()

    entered = bugcheck_of(lambda: at_dispatch(KeEnterCriticalRegion), verifier=AUTOMATIC)
    left = bugcheck_of(lambda: at_dispatch(KeLeaveCriticalRegion), verifier=AUTOMATIC)
    never = bugcheck_of(lambda: KeLeaveCriticalRegion(), verifier=AUTOMATIC)
    assert seen(entered) == (0xC4, 0x11A, 2, 0, 0)
    assert seen(left) == (0xC4, 0x11B, 2, 0, 0)
    assert seen(never) == (0xC4, 0x3E, 0, 0, 0)


def test_a_resource_with_apcs_enabled_in_a_thread_of_an_app(crash_of) -> None:
    def device_control(DeviceObject, Irp) -> int:
        resource = cast(ExAllocatePoolWithTag(NonPagedPoolNx, 0x68, 1), PERESOURCE)
        ExInitializeResourceLite(resource)
        ExAcquireResourceExclusiveLite(resource, TRUE)
        return STATUS_SUCCESS

    found, machine = crash_of(options={"verifier": AUTOMATIC}, device_control=device_control)
    assert found.code == 0xC4 and found.parameters[:3] == (0x37, 0, 0)
    assert "KeEnterCriticalRegion first" in machine.report().to_text()


def test_an_unaligned_resource(bugcheck_of) -> None:
    found = bugcheck_of(
        lambda: ExAcquireResourceExclusiveLite(
            cast(ExAllocatePoolWithTag(NonPagedPoolNx, 0x80, 1) + 4, PERESOURCE), TRUE
        ),
        verifier=AUTOMATIC,
    )
    assert found.parameters[:3] == (0x3D, 0, 0)


# DDI compliance

RULE_CALLS = {
    "IrqlKeApcLte1": lambda: KeDelayExecutionThread(KernelMode, FALSE, LARGE_INTEGER()),
    "IrqlIoPassive1": lambda: IoCreateDevice(NULL, 0, NULL, 0, 0, FALSE),
    "IrqlIoPassive3": lambda: IoCreateSymbolicLink(NULL, NULL),
    "IrqlZwPassive": lambda: ZwClose(0),
    "IrqlPsPassive": lambda: PsTerminateSystemThread(0),
    "IrqlExApcLte2": lambda: ProbeForRead(0x10000, 0, 1),
}


@pytest.mark.parametrize("rule", RULE_CALLS)
@pytest.mark.parametrize("verifier", ["standard", "the rule"])
def test_a_routine_above_its_level_is_reported_by_its_rule(bugcheck_of, rule, verifier) -> None:
    def body() -> None:
        KeRaiseIrql(DISPATCH_LEVEL)
        RULE_CALLS[rule]()

    found = bugcheck_of(body, verifier=rule if verifier == "the rule" else verifier)
    assert (found.code, found.parameters[0]) == (0xC4, routines.verifier_rules()[rule])


def test_the_text_of_a_rule_is_in_memory(ntsim_machine) -> None:
    def DriverEntry(DriverObject, RegistryPath) -> int:
        KeRaiseIrql(DISPATCH_LEVEL)
        ZwClose(0)
        return 0

    machine = ntsim_machine(verifier="IrqlZwPassive")
    with pytest.raises(BugCheck):
        machine.load_driver(DriverEntry, name="drv.sys")
    text = machine.nt.mmu.read(machine.bugcheck.parameters[1], 64).split(b"\0")[0]
    assert text == b"ZwClose should only be called at IRQL = PASSIVE_LEVEL."


def test_a_routine_without_a_rule_of_its_own(bugcheck_of) -> None:
    def body() -> None:
        KeRaiseIrql(DISPATCH_LEVEL)
        KeFlushQueuedDpcs()

    assert seen(bugcheck_of(body, verifier="ddi")) == (0xC4, 0xE5, 2, 0, 0)


def test_a_spin_lock_acquired_twice(bugcheck_of) -> None:
    def body() -> None:
        lock = KSPIN_LOCK()
        KeInitializeSpinLock(lock)
        KeAcquireSpinLock(lock)
        KeAcquireSpinLock(lock)

    assert bugcheck_of(body, verifier="SpinLock").parameters[0] == 0x40009


def test_a_spin_lock_released_that_is_not_held(bugcheck_of) -> None:
    def body() -> None:
        lock = KSPIN_LOCK()
        KeInitializeSpinLock(lock)
        KeRaiseIrql(DISPATCH_LEVEL)
        KeReleaseSpinLock(lock, PASSIVE_LEVEL)

    rule = routines.verifier_rules()["SpinlockRelease"]
    assert bugcheck_of(body, verifier="SpinlockRelease").parameters[0] == rule


def test_a_queued_spin_lock_handle_used_twice(bugcheck_of) -> None:
    def body() -> None:
        lock, other, handle = KSPIN_LOCK(), KSPIN_LOCK(), KLOCK_QUEUE_HANDLE()
        KeInitializeSpinLock(lock)
        KeInitializeSpinLock(other)
        KeAcquireInStackQueuedSpinLock(lock, handle)
        KeAcquireInStackQueuedSpinLock(other, handle)

    assert bugcheck_of(body, verifier="ddi").parameters[0] == 0x40006


def test_a_queued_spin_lock_released_twice(bugcheck_of) -> None:
    def body() -> None:
        lock, handle = KSPIN_LOCK(), KLOCK_QUEUE_HANDLE()
        KeInitializeSpinLock(lock)
        KeAcquireInStackQueuedSpinLock(lock, handle)
        KeReleaseInStackQueuedSpinLock(handle)
        KeRaiseIrql(DISPATCH_LEVEL)
        KeReleaseInStackQueuedSpinLock(handle)

    assert bugcheck_of(body, verifier="ddi").parameters[0] == 0x40007


def test_a_guarded_region_left_that_was_not_entered(bugcheck_of) -> None:
    assert bugcheck_of(lambda: KeLeaveGuardedRegion(), verifier="ddi").parameters[0] == 0x4000E


def test_setting_an_event_with_wait_at_dispatch_level(bugcheck_of) -> None:
    def body() -> None:
        event = KEVENT()
        KeInitializeEvent(event, NotificationEvent, FALSE)
        KeRaiseIrql(DISPATCH_LEVEL)
        KeSetEvent(event, 0, TRUE)

    assert bugcheck_of(body, verifier="standard").parameters[0] == 0x20016


def test_correct_locking_passes_the_standard_settings(run_driver) -> None:
    def body() -> None:
        lock, queued, handle = KSPIN_LOCK(), KSPIN_LOCK(), KLOCK_QUEUE_HANDLE()
        KeInitializeSpinLock(lock)
        KeInitializeSpinLock(queued)
        for _ in range(2):
            old = KeAcquireSpinLock(lock)
            KeReleaseSpinLock(lock, old)
            KeAcquireInStackQueuedSpinLock(queued, handle)
            KeReleaseInStackQueuedSpinLock(handle)
            KeEnterCriticalRegion()
            KeLeaveCriticalRegion()
            KeEnterGuardedRegion()
            KeLeaveGuardedRegion()

    run_driver(body, verifier="standard")
