"""Deadlock detection. Source: WDK "Deadlock Detection"; Bug Check 0xC4, 0x1000 to 0x100B."""

import pytest

from ntsim.errors import BugCheck
from ntsim.wdm import *

DEADLOCK = {"verifier": "deadlock"}


def memory(size: int, kind):
    return cast(ExAllocatePoolWithTag(NonPagedPoolNx, size, 1), kind)


def spin_lock():
    lock = memory(8, PKSPIN_LOCK)
    KeInitializeSpinLock(lock)
    return lock


def fast_mutex():
    mutex = memory(0x38, PFAST_MUTEX)
    ExInitializeFastMutex(mutex)
    return mutex


def mutex():
    made = memory(0x38, PKMUTANT)
    KeInitializeMutex(made, 0)
    return made


def resource():
    made = memory(0x68, PERESOURCE)
    ExInitializeResourceLite(made)
    return made


def with_spin(lock, inner) -> None:
    old = KeAcquireSpinLock(lock)
    inner()
    KeReleaseSpinLock(lock, old)


def with_fast(lock, inner) -> None:
    ExAcquireFastMutex(lock)
    inner()
    ExReleaseFastMutex(lock)


def with_mutex(lock, inner) -> None:
    KeWaitForSingleObject(lock, Executive, KernelMode, FALSE, NULL)
    inner()
    KeReleaseMutex(lock, FALSE)


def with_resource(lock, inner) -> None:
    ExEnterCriticalRegionAndAcquireResourceExclusive(lock)
    inner()
    ExReleaseResourceAndLeaveCriticalRegion(lock)


KINDS = {
    "spin": (spin_lock, with_spin),
    "fast": (fast_mutex, with_fast),
    "mutex": (mutex, with_mutex),
    "resource": (resource, with_resource),
}


def nothing() -> None:
    pass


@pytest.mark.parametrize("kind", KINDS)
def test_two_orders_in_one_thread_are_reported_before_anything_hangs(ntsim_machine, kind) -> None:
    make, held = KINDS[kind]
    found = []

    def first_order(a, b) -> None:
        held(a, lambda: held(b, nothing))

    def second_order(a, b) -> None:
        held(b, lambda: held(a, nothing))

    def DriverEntry(DriverObject, RegistryPath) -> int:
        a, b = make(), make()
        found.append(int(a))
        first_order(a, b)
        second_order(a, b)
        return STATUS_SUCCESS

    machine = ntsim_machine(**DEADLOCK)
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(DriverEntry, name="drv.sys")
    assert caught.value.code == 0xC4
    assert caught.value.parameters[:2] == (0x1001, found[0])
    text = " ".join(machine.report().to_text().split())
    assert "drv!first_order" in text and "drv!second_order" in text
    assert "orders that can deadlock" in machine.report().summary


def test_a_circle_of_three(bugcheck_of) -> None:
    def body() -> None:
        a, b, c = spin_lock(), spin_lock(), spin_lock()
        with_spin(a, lambda: with_spin(b, nothing))
        with_spin(b, lambda: with_spin(c, nothing))
        with_spin(c, lambda: with_spin(a, nothing))

    assert bugcheck_of(body, **DEADLOCK).parameters[0] == 0x1001


def test_orders_that_an_outer_lock_keeps_apart_are_allowed(run_driver) -> None:
    def body() -> None:
        outer, a, b = spin_lock(), spin_lock(), spin_lock()
        with_spin(outer, lambda: with_spin(a, lambda: with_spin(b, nothing)))
        with_spin(outer, lambda: with_spin(b, lambda: with_spin(a, nothing)))

    run_driver(body, **DEADLOCK)


def test_the_same_order_again_and_again_is_allowed(run_driver) -> None:
    def body() -> None:
        a, b, c = fast_mutex(), resource(), spin_lock()
        for _ in range(3):
            with_fast(a, lambda: with_resource(b, lambda: with_spin(c, nothing)))
            with_resource(b, lambda: with_spin(c, nothing))

    run_driver(body, verifier="standard")


def test_a_lock_that_is_only_tried_makes_no_order(run_driver) -> None:
    def body() -> None:
        a, b = fast_mutex(), fast_mutex()
        with_fast(a, lambda: with_fast(b, nothing))
        ExAcquireFastMutex(b)
        assert ExTryToAcquireFastMutex(a)
        ExReleaseFastMutex(a)
        ExReleaseFastMutex(b)

    run_driver(body, **DEADLOCK)


def test_a_dpc_that_interrupts_a_lock_owner_makes_no_order(run_driver) -> None:
    def body() -> None:
        mutex_, lock = fast_mutex(), spin_lock()

        def routine(Dpc, Context, One, Two) -> None:
            KeAcquireSpinLockAtDpcLevel(lock)
            KeReleaseSpinLockFromDpcLevel(lock)

        dpc = memory(0x40, PKDPC)
        KeInitializeDpc(dpc, routine, NULL)
        with_fast(mutex_, lambda: KeInsertQueueDpc(dpc, NULL, NULL))
        with_spin(lock, nothing)

    run_driver(body, **DEADLOCK)


@pytest.mark.parametrize(("make", "held"), [KINDS["spin"], KINDS["fast"]])
def test_acquiring_what_one_holds(bugcheck_of, make, held) -> None:
    where = []

    def body() -> None:
        lock = make()
        where.append(int(lock))
        if held is with_fast:
            KeEnterCriticalRegion()
            ExAcquireFastMutexUnsafe(lock)
            ExAcquireFastMutexUnsafe(lock)
        held(lock, lambda: held(lock, nothing))

    assert bugcheck_of(body, **DEADLOCK).parameters == (0x1000, where[0], 0, 0)


def test_a_mutex_and_an_exclusive_resource_are_recursive(run_driver) -> None:
    def body() -> None:
        a, b = mutex(), resource()
        with_mutex(a, lambda: with_mutex(a, nothing))
        with_resource(b, lambda: with_resource(b, nothing))

    run_driver(body, verifier="standard")


def test_a_shared_resource_acquired_exclusively(bugcheck_of) -> None:
    def body() -> None:
        made = resource()
        KeEnterCriticalRegion()
        ExAcquireResourceSharedLite(made, TRUE)
        ExAcquireResourceExclusiveLite(made, TRUE)

    assert bugcheck_of(body, **DEADLOCK).parameters[0] == 0x1000


def test_a_mutex_that_was_never_initialized(bugcheck_of) -> None:
    def body() -> None:
        ExAcquireFastMutex(memory(0x38, PFAST_MUTEX))

    assert bugcheck_of(body, **DEADLOCK).parameters[0] == 0x1002


def test_a_mutex_that_the_headers_initialized(run_driver) -> None:
    """wdm.h: in a compiled driver ExInitializeFastMutex is its own code, which calls
    KeInitializeEvent."""

    def body() -> None:
        mutex = memory(0x38, PFAST_MUTEX)
        mutex.Count = 1
        KeInitializeEvent(mutex.Event, SynchronizationEvent, FALSE)
        ExAcquireFastMutex(mutex)
        ExReleaseFastMutex(mutex)

    assert run_driver(body, **DEADLOCK).machine.bugcheck is None


def test_a_mutex_initialized_twice(bugcheck_of) -> None:
    def body() -> None:
        ExInitializeFastMutex(fast_mutex())

    assert bugcheck_of(body, **DEADLOCK).parameters[0] == 0x1005


def test_memory_that_was_freed_may_be_initialized_again(run_driver) -> None:
    def body() -> None:
        for _ in range(3):
            ExFreePool(fast_mutex())

    run_driver(body, **DEADLOCK)


def test_releasing_what_nobody_or_somebody_else_holds(bugcheck_of) -> None:
    def nobody() -> None:
        made = fast_mutex()
        KeRaiseIrql(APC_LEVEL)
        ExReleaseFastMutex(made)

    def other() -> None:
        made = fast_mutex()
        made_event = memory(0x18, PKEVENT)
        KeInitializeEvent(made_event, NotificationEvent, FALSE)

        def thread(Context) -> None:
            KeRaiseIrql(APC_LEVEL)
            ExReleaseFastMutex(made)

        ExAcquireFastMutex(made)
        KeLowerIrql(PASSIVE_LEVEL)
        PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, thread, NULL)
        KeWaitForSingleObject(made_event, Executive, KernelMode, FALSE, NULL)

    assert bugcheck_of(nobody, **DEADLOCK).parameters[0] == 0x1007
    found = bugcheck_of(other, **DEADLOCK).parameters
    assert found[0] == 0x1004 and found[2] and found[3] and found[2] != found[3]


def test_a_spin_lock_used_with_two_kinds_of_routines(bugcheck_of) -> None:
    def acquire() -> None:
        lock, handle = spin_lock(), KLOCK_QUEUE_HANDLE()
        with_spin(lock, nothing)
        KeAcquireInStackQueuedSpinLock(lock, handle)

    def release() -> None:
        lock, handle = spin_lock(), KLOCK_QUEUE_HANDLE()
        KeAcquireInStackQueuedSpinLock(lock, handle)
        KeReleaseSpinLock(lock, PASSIVE_LEVEL)

    assert bugcheck_of(acquire, **DEADLOCK).parameters[0] == 0x1008
    assert bugcheck_of(release, **DEADLOCK).parameters[0] == 0x1009


def test_freeing_a_lock_that_is_held(bugcheck_of) -> None:
    def body() -> None:
        lock = spin_lock()
        KeAcquireSpinLock(lock)
        ExFreePool(lock)

    found = bugcheck_of(body, **DEADLOCK).parameters
    assert found[0] == 0x100B and found[2]


def test_a_thread_that_ends_with_a_lock(bugcheck_of) -> None:
    def body() -> None:
        event = memory(0x18, PKEVENT)
        KeInitializeEvent(event, NotificationEvent, FALSE)
        made = mutex()

        def thread(Context) -> None:
            KeWaitForSingleObject(made, Executive, KernelMode, FALSE, NULL)
            PsTerminateSystemThread(STATUS_SUCCESS)

        PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, thread, NULL)
        KeWaitForSingleObject(event, Executive, KernelMode, FALSE, NULL)

    assert bugcheck_of(body, **DEADLOCK).parameters[0] == 0x100A
