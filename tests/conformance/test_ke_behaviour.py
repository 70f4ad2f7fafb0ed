"""How the kernel core behaves, as public test suites and dumps of real systems assert it."""

import pytest

from ntsim.intrin import *
from ntsim.wdm import *


def large(value: int):
    made = LARGE_INTEGER()
    made.QuadPart = value
    return made


def wait(object_, timeout=NULL) -> int:
    return KeWaitForSingleObject(object_, Executive, KernelMode, FALSE, timeout)


def poll(object_) -> int:
    return wait(object_, large(0))


def start(routine, context=0) -> None:
    PsCreateSystemThread(0, NULL, NULL, NULL, routine, context)


def pause() -> None:
    KeDelayExecutionThread(KernelMode, FALSE, large(-10_000))


def new_event(kind: int, state: int = FALSE):
    event = KEVENT()
    KeInitializeEvent(event, kind, state)
    return event


def apc_counts() -> tuple[int, int]:
    thread = KeGetCurrentThread()
    return thread.KernelApcDisable, thread.SpecialApcDisable


# IRQL


def test_raising_to_dpc_level_twice_returns_dispatch_level_the_second_time(value_of) -> None:
    """ReactOS rostests/kmtests/ntos_ke/KeIrql.c."""

    def body() -> list[int]:
        return [KeRaiseIrqlToDpcLevel(), KeRaiseIrqlToDpcLevel(), KeGetCurrentIrql()]

    assert value_of(body) == [0, 2, 2]


def test_the_levels_of_x64_have_their_numbers() -> None:
    """wdkmetadata km/wdm.h, the amd64 section."""
    levels = (PASSIVE_LEVEL, APC_LEVEL, DISPATCH_LEVEL, CMCI_LEVEL, CLOCK_LEVEL)
    assert levels == (0, 1, 2, 5, 13)
    assert (IPI_LEVEL, DRS_LEVEL, POWER_LEVEL, PROFILE_LEVEL, HIGH_LEVEL) == (14, 14, 14, 15, 15)


def test_a_fault_with_interrupts_off_is_reported_at_irql_0xff(bugcheck_of) -> None:
    """ionescu007/SimpleVisor#35 (0xD1), DarthTon/HyperBone#36 (0xA)."""

    def body() -> None:
        pageable = ExAllocatePoolWithTag(PagedPool, 8192, 1)
        _disable()
        read_bytes(pageable + 4096, 1)

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[1]) == (0xD1, 0xFF)


def test_raising_to_synch_level_twice_returns_synch_level_the_second_time(value_of) -> None:
    """ReactOS rostests/kmtests/ntos_ke/KeIrql.c; SYNCH_LEVEL is 12 on x64 (docs, `!irql`)."""

    def body() -> list[int]:
        return [KeRaiseIrqlToSynchLevel(), KeRaiseIrqlToSynchLevel()]

    assert value_of(body) == [0, 12]


# APCs


def test_critical_regions_count_kernel_apc_disable_down(value_of) -> None:
    """ReactOS rostests/kmtests/ntos_ke/KeApc.c."""

    def body() -> list:
        seen = []
        for _ in range(3):
            KeEnterCriticalRegion()
            seen.append(apc_counts())
        seen.append((KeAreApcsDisabled(), KeAreAllApcsDisabled()))
        for _ in range(3):
            KeLeaveCriticalRegion()
            seen.append(apc_counts())
        return seen

    down, up = [(-1, 0), (-2, 0), (-3, 0)], [(-2, 0), (-1, 0), (0, 0)]
    assert value_of(body) == [*down, (True, False), *up]


def test_guarded_regions_count_special_apc_disable_down_and_disable_all(value_of) -> None:
    """ReactOS rostests/kmtests/ntos_ke/KeApc.c."""

    def body() -> tuple:
        KeEnterGuardedRegion()
        seen = apc_counts(), KeAreAllApcsDisabled()
        KeLeaveGuardedRegion()
        return seen

    assert value_of(body) == ((0, -1), True)


@pytest.mark.parametrize("level", [APC_LEVEL, DISPATCH_LEVEL, HIGH_LEVEL])
def test_from_apc_level_on_all_apcs_are_disabled_without_any_count(value_of, level: int) -> None:
    """ReactOS rostests/kmtests/ntos_ke/KeApc.c."""

    def body() -> tuple:
        KfRaiseIrql(level)
        return apc_counts(), KeAreApcsDisabled(), KeAreAllApcsDisabled()

    assert value_of(body) == ((0, 0), False, True)


def test_regions_may_be_entered_at_high_level_and_left_at_passive(value_of) -> None:
    """ReactOS rostests/kmtests/ntos_ke/KeApc.c: the counters are the thread's, not the IRQL's."""

    def body() -> list:
        old = KfRaiseIrql(HIGH_LEVEL)
        KeEnterCriticalRegion()
        KeEnterGuardedRegion()
        high = apc_counts()
        KeLowerIrql(old)
        KeLeaveGuardedRegion()
        KeLeaveCriticalRegion()
        return [high, apc_counts()]

    assert value_of(body) == [(-1, -1), (0, 0)]


# DPCs


def test_a_dpc_can_be_queued_and_removed_at_high_level(value_of) -> None:
    """ReactOS rostests/kmtests/ntos_ke/KeDpc.c."""

    def body() -> list:
        ran, dpc = [], KDPC()
        KeInitializeDpc(dpc, lambda *_: ran.append(1), NULL)
        KfRaiseIrql(HIGH_LEVEL)
        found = [KeInsertQueueDpc(dpc, NULL, NULL), KeRemoveQueueDpc(dpc)]
        KeLowerIrql(PASSIVE_LEVEL)
        return [*found, ran]

    assert value_of(body) == [True, True, []]


def test_a_generic_call_runs_on_each_processor_and_selects_exactly_one(value_of) -> None:
    """Wine dlls/ntoskrnl.exe/tests/driver.c, test_dpc_func."""

    def body() -> tuple[int, int]:
        calls, selected = LONG(), LONG()

        def routine(Dpc, Context, One, Two) -> None:
            InterlockedIncrement(calls)
            if KeSignalCallDpcSynchronize(Two):
                InterlockedIncrement(selected)
            KeSignalCallDpcDone(One)

        KeGenericCallDpc(routine, NULL)
        return calls[0], selected[0]

    assert value_of(body, processors=6, seed=1) == (6, 1)


# Spin locks


def test_a_queued_spin_lock_holds_the_address_of_its_handle(value_of) -> None:
    """ReactOS rostests/kmtests/ntos_ke/KeSpinLock.c."""

    def body() -> list:
        lock, handle = KSPIN_LOCK(), KLOCK_QUEUE_HANDLE()
        KeAcquireInStackQueuedSpinLock(lock, handle)
        held = lock[0] == handle
        KeReleaseInStackQueuedSpinLock(handle)
        return [held, lock[0]]

    assert value_of(body) == [True, 0]


def test_acquiring_a_held_spin_lock_again_ends_in_the_dpc_watchdog(bugcheck_of) -> None:
    """Bug checks 0xF and 0x133 reference: a free build spins; nmap/npcap#245."""

    def body() -> None:
        lock = KSPIN_LOCK()
        KeAcquireSpinLock(lock)
        KeAcquireSpinLockAtDpcLevel(lock)

    assert bugcheck_of(body).code == 0x133


# Events


@pytest.mark.parametrize(("kind", "type_"), [(NotificationEvent, 0), (SynchronizationEvent, 1)])
@pytest.mark.parametrize("state", [FALSE, TRUE])
def test_an_event_is_initialized_byte_by_byte(value_of, kind: int, type_: int, state: int) -> None:
    """ReactOS rostests/kmtests/ntos_ke/KeEvent.c."""

    def body() -> list:
        event = new_event(kind, state)
        header = event.Header
        empty = header.WaitListHead.Flink == header.WaitListHead.Blink == header.WaitListHead
        return [header.Type, header.Size, header.SignalState, empty]

    assert value_of(body) == [type_, 6, state, True]


def test_a_synchronization_event_wakes_one_waiter_a_notification_event_all(value_of) -> None:
    """ReactOS rostests/kmtests/ntos_ke/KeEvent.c."""

    def body() -> list:
        seen = []
        for kind in (SynchronizationEvent, NotificationEvent):
            event, woken = new_event(kind), []

            def waiter(number, event=event, woken=woken) -> None:
                wait(event)
                woken.append(number)

            for number in range(3):
                start(waiter, number)
                pause()
            KeSetEvent(event, 0, FALSE)
            pause()
            seen.append((list(woken), KeReadStateEvent(event)))
        return seen

    assert value_of(body, processors=1) == [([0], 0), ([0, 1, 2], 1)]


@pytest.mark.parametrize("increment", [0, 2, 7, 8, 15])
def test_a_waiters_priority_is_boosted_by_the_increment_up_to_15(value_of, increment: int) -> None:
    """ReactOS rostests/kmtests/ntos_ke/KeEvent.c: max(min(8 + increment, 15), 8)."""

    def body() -> int:
        event, seen = new_event(NotificationEvent), []

        def waiter(Context) -> None:
            wait(event)
            seen.append(KeQueryPriorityThread(KeGetCurrentThread()))

        start(waiter)
        pause()
        KeSetEvent(event, increment, FALSE)
        pause()
        return seen[0]

    assert value_of(body, processors=2) == max(min(8 + increment, 15), 8)


# Waits


def test_wait_any_returns_the_lowest_index_and_consumes_only_that(value_of) -> None:
    """Wine dlls/ntoskrnl.exe/tests/driver.c, test_sync."""

    def body() -> list:
        manual, auto = new_event(NotificationEvent, TRUE), new_event(SynchronizationEvent, TRUE)
        array = (PVOID * 2)()
        array[0], array[1] = manual, auto
        status = KeWaitForMultipleObjects(
            2, array, WaitAny, Executive, KernelMode, FALSE, large(0), NULL
        )
        return [status, KeReadStateEvent(manual), KeReadStateEvent(auto)]

    assert value_of(body) == [0, 1, 1]


def test_a_zero_timeout_polls_and_running_things_are_not_signalled(value_of) -> None:
    """Wine dlls/ntoskrnl.exe/tests/driver.c, test_current_thread."""

    def body() -> list[int]:
        return [
            poll(new_event(NotificationEvent)),
            poll(new_event(NotificationEvent, TRUE)),
            poll(KeGetCurrentThread()),
            poll(PsGetCurrentProcess()),
        ]

    assert value_of(body) == [0x102, 0, 0x102, 0x102]


def test_a_semaphore_returns_its_previous_count_and_is_taken_one_by_one(value_of) -> None:
    """Wine dlls/ntoskrnl.exe/tests/driver.c, test_sync."""

    def body() -> list[int]:
        semaphore = KSEMAPHORE()
        KeInitializeSemaphore(semaphore, 0, 5)
        counts = [KeReleaseSemaphore(semaphore, 0, by, FALSE) for by in (1, 2, 1)]
        return [*counts, *(poll(semaphore) for _ in range(5))]

    assert value_of(body) == [0, 1, 3, 0, 0, 0, 0, 0x102]


def test_a_kernel_mutex_disables_normal_apcs_and_ignores_its_level(value_of) -> None:
    """ReactOS rostests/kmtests/ntos_ke/KeMutex.c."""

    def body() -> list:
        seen = []
        for level in (0, 123):
            mutex = KMUTEX()
            KeInitializeMutex(mutex, level)
            seen.append(read_bytes(mutex + 0x30, 2))
            wait(mutex)
            seen.append((apc_counts(), mutex.ApcDisable))
            KeReleaseMutex(mutex, FALSE)
            seen.append(apc_counts())
        return seen

    assert value_of(body) == [b"\0\x01", ((-1, 0), 1), (0, 0)] * 2


# Timers


def test_a_notification_timer_stays_signalled_and_a_synchronization_timer_is_consumed(
    value_of,
) -> None:
    """Wine dlls/ntoskrnl.exe/tests/driver.c, test_sync."""

    def body() -> list:
        seen = []
        for kind in (NotificationTimer, SynchronizationTimer):
            timer = KTIMER()
            KeInitializeTimerEx(timer, kind)
            KeSetTimerEx(timer, large(-200_000), 0, NULL)
            seen.append([poll(timer), wait(timer), poll(timer)])
            KeSetTimerEx(timer, large(-200_000), 20, NULL)
            seen.append([wait(timer), wait(timer), KeCancelTimer(timer)])
        return seen

    expected = [[0x102, 0, 0], [0, 0, True], [0x102, 0, 0x102], [0, 0, True]]
    assert value_of(body) == expected


def test_a_timer_runs_its_dpc_as_well_as_being_signalled(value_of) -> None:
    """Wine dlls/ntoskrnl.exe/tests/driver.c, test_sync."""

    def body() -> list:
        timer, dpc, called = KTIMER(), KDPC(), []
        KeInitializeTimer(timer)
        KeInitializeDpc(dpc, lambda *_: called.append(KeGetCurrentIrql()), NULL)
        KeSetTimer(timer, large(-200_000), dpc)
        return [list(called), wait(timer), called]

    assert value_of(body, processors=1) == [[], 0, [2]]


# Device queues


def test_a_device_queue_is_busy_before_it_holds_anything(value_of) -> None:
    """Wine dlls/ntoskrnl.exe/tests/driver.c, test_queue; ReactOS kmtests/ntos_ke/KeDevQueue.c."""

    def body() -> list:
        queue = KDEVICE_QUEUE()
        entries = [KDEVICE_QUEUE_ENTRY() for _ in range(2)]
        KeInitializeDeviceQueue(queue)
        KeRaiseIrqlToDpcLevel()
        steps = [queue.Busy, KeInsertDeviceQueue(queue, entries[0]), queue.Busy]
        steps += [KeInsertDeviceQueue(queue, entries[1]), entries[1].Inserted]
        steps += [KeRemoveDeviceQueue(queue) == entries[1], queue.Busy]
        steps += [int(KeRemoveDeviceQueue(queue)), queue.Busy]
        return steps

    assert value_of(body) == [0, False, 1, True, 1, True, 1, 0, 0]


# Threads


def test_threads_of_the_system_have_previous_mode_kernel(value_of) -> None:
    """Wine dlls/ntoskrnl.exe/tests/driver.c, test_current_thread and test_lookup_thread."""

    def body() -> list:
        seen = []
        start(lambda c: seen.append((ExGetPreviousMode(), int(PsGetCurrentProcessId()))))
        pause()
        return [seen, PsLookupThreadByThreadId(0)[0]]

    assert value_of(body) == [[(KernelMode, 4)], STATUS_INVALID_CID]
