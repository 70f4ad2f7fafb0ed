"""Events, semaphores and mutexes as bytes and as promises."""

import pytest

from ntsim.wdm import *

MUTEX_NOT_OWNED = 0xC000_0046


def large(value: int):
    made = LARGE_INTEGER()
    made.QuadPart = value
    return made


def wait(object_, timeout=NULL) -> int:
    return KeWaitForSingleObject(object_, Executive, KernelMode, FALSE, timeout)


def poll(object_) -> int:
    return wait(object_, large(0))


def start(routine, context=0) -> None:
    _, handle = PsCreateSystemThread(0, NULL, NULL, NULL, routine, context)
    ZwClose(handle)


def pause(milliseconds: int = 1) -> None:
    KeDelayExecutionThread(KernelMode, FALSE, large(-milliseconds * 10_000))


# Events


@pytest.mark.parametrize("kind", [NotificationEvent, SynchronizationEvent])
@pytest.mark.parametrize("state", [FALSE, TRUE])
def test_an_initialized_event_has_type_size_state_and_an_empty_list(
    value_of, kind: int, state: int
) -> None:
    def body() -> list[int]:
        event = KEVENT()
        KeInitializeEvent(event, kind, state)
        head = event.Header.WaitListHead
        return [
            event.Header.Type,
            event.Header.Size,
            event.Header.SignalState,
            head.Flink == head.Blink == head,
        ]

    assert value_of(body) == [kind, 6, state, True]


def test_setting_resetting_and_pulsing_return_the_state_before(value_of) -> None:
    def body() -> list[int]:
        event = KEVENT()
        KeInitializeEvent(event, NotificationEvent, FALSE)
        found = [KeSetEvent(event, 0, FALSE), KeSetEvent(event, 0, FALSE)]
        found += [KeResetEvent(event), KeResetEvent(event)]
        KeSetEvent(event, 0, FALSE)
        KeClearEvent(event)
        return [*found, KeReadStateEvent(event), KePulseEvent(event, 0, FALSE)]

    assert value_of(body) == [0, 1, 1, 0, 0, 0]


def waiters_woken(kind: int, sets: int) -> list:
    """Numbers of the threads that wake, in order, when an event is set so often."""
    event, woken = KEVENT(), []
    KeInitializeEvent(event, kind, FALSE)

    def waiter(number) -> None:
        wait(event)
        woken.append(number)

    for number in range(4):
        start(waiter, number)
        pause()
    for _ in range(sets):
        KeSetEvent(event, 0, FALSE)
        pause()
    return [woken[:], KeReadStateEvent(event)]


@pytest.mark.parametrize("sets", [1, 2, 4])
def test_a_synchronization_event_wakes_one_waiter_at_a_time_in_order(value_of, sets: int) -> None:
    found = value_of(lambda: waiters_woken(SynchronizationEvent, sets), processors=2)
    assert found == [list(range(sets)), 0]


def test_a_notification_event_wakes_every_waiter_and_stays_set(value_of) -> None:
    woken, state = value_of(lambda: waiters_woken(NotificationEvent, 1), processors=1)
    assert (woken, state) == ([0, 1, 2, 3], 1)


def test_a_pulse_wakes_who_waits_and_leaves_the_event_reset(value_of) -> None:
    def body() -> list:
        event, woken = KEVENT(), []
        KeInitializeEvent(event, NotificationEvent, FALSE)
        for number in range(2):
            start(lambda n: woken.append((wait(event), n)), number)
        pause()
        KePulseEvent(event, 0, FALSE)
        pause()
        return [sorted(woken), poll(event)]

    assert value_of(body) == [[(0, 0), (0, 1)], STATUS_TIMEOUT]


@pytest.mark.parametrize("increment", [0, 1, 3, 7, 20])
def test_a_woken_threads_priority_is_boosted_up_to_15(value_of, increment: int) -> None:
    """ReactOS kmtests KeEvent.c: max(min(8 + increment, 15), 8) for a base of 8."""

    def body() -> int:
        event, seen = KEVENT(), []
        KeInitializeEvent(event, SynchronizationEvent, FALSE)

        def waiter(Context) -> None:
            wait(event)
            seen.append(KeQueryPriorityThread(KeGetCurrentThread()))

        start(waiter)
        pause()
        KeSetEvent(event, increment, FALSE)
        pause()
        return seen[0]

    assert value_of(body, processors=2) == max(min(8 + increment, 15), 8)


# Semaphores


def test_a_semaphore_counts_releases_and_waits(value_of) -> None:
    """Wine ntoskrnl tests test_sync."""

    def body() -> list[int]:
        semaphore = KSEMAPHORE()
        KeInitializeSemaphore(semaphore, 0, 5)
        counts = [KeReleaseSemaphore(semaphore, 0, n, FALSE) for n in (1, 2, 1)]
        return [*counts, *(poll(semaphore) for _ in range(5)), KeReadStateSemaphore(semaphore)]

    assert value_of(body) == [0, 1, 3, 0, 0, 0, 0, STATUS_TIMEOUT, 0]


@pytest.mark.parametrize("adjustment", [0, -1, 3])
def test_releasing_past_the_limit_raises(value_of, adjustment: int) -> None:
    def body() -> list[int]:
        semaphore = KSEMAPHORE()
        KeInitializeSemaphore(semaphore, 1, 3)
        try:
            KeReleaseSemaphore(semaphore, 0, adjustment, FALSE)
        except StructuredException as e:
            return [e.ExceptionCode, KeReadStateSemaphore(semaphore)]
        return []

    assert value_of(body) == [STATUS_SEMAPHORE_LIMIT_EXCEEDED, 1]


def test_one_release_lets_as_many_waiters_go_as_it_adds(value_of) -> None:
    def body() -> list:
        semaphore, woken = KSEMAPHORE(), []
        KeInitializeSemaphore(semaphore, 0, 10)
        for number in range(5):
            start(lambda n: woken.append((wait(semaphore), n)), number)
            pause()
        KeReleaseSemaphore(semaphore, 0, 3, FALSE)
        pause()
        return [sorted(n for _, n in woken), KeReadStateSemaphore(semaphore)]

    assert value_of(body, processors=2) == [[0, 1, 2], 0]


# Mutexes


def test_a_mutex_can_be_acquired_again_by_its_owner(value_of) -> None:
    def body() -> list[int]:
        mutex = KMUTEX()
        KeInitializeMutex(mutex, 123)
        waits = [wait(mutex), wait(mutex), KeReadStateMutex(mutex)]
        releases = [KeReleaseMutex(mutex, FALSE), KeReleaseMutex(mutex, FALSE)]
        return [*waits, *releases, KeReadStateMutex(mutex)]

    assert value_of(body) == [0, 0, -1, -1, 0, 1]


def test_holding_a_mutex_disables_normal_kernel_apcs(value_of) -> None:
    def body() -> list:
        mutex = KMUTEX()
        KeInitializeMutex(mutex, 0)
        wait(mutex)
        held = [KeGetCurrentThread().KernelApcDisable, KeAreApcsDisabled(), mutex.ApcDisable]
        wait(mutex)
        held.append(KeGetCurrentThread().KernelApcDisable)
        KeReleaseMutex(mutex, FALSE)
        KeReleaseMutex(mutex, FALSE)
        return [*held, KeGetCurrentThread().KernelApcDisable]

    assert value_of(body) == [-1, True, 1, -1, 0]


def test_releasing_a_mutex_of_nobody_raises(value_of) -> None:
    def body() -> int:
        mutex = KMUTEX()
        KeInitializeMutex(mutex, 0)
        try:
            KeReleaseMutex(mutex, FALSE)
        except StructuredException as e:
            return e.ExceptionCode
        return 0

    assert value_of(body) == MUTEX_NOT_OWNED


def test_releasing_another_threads_mutex_raises_and_changes_nothing(value_of) -> None:
    def body() -> list:
        mutex, seen = KMUTEX(), []
        KeInitializeMutex(mutex, 0)
        wait(mutex)

        def intruder(Context) -> None:
            try:
                KeReleaseMutex(mutex, FALSE)
            except StructuredException as e:
                seen.append(e.ExceptionCode)

        start(intruder)
        pause()
        return [seen, KeReadStateMutex(mutex), KeReleaseMutex(mutex, FALSE)]

    assert value_of(body) == [[MUTEX_NOT_OWNED], 0, 0]


def test_a_mutex_is_held_by_one_thread_at_a_time(value_of) -> None:
    def body() -> list:
        mutex, done, inside, worst = KMUTEX(), KSEMAPHORE(), [], []
        KeInitializeMutex(mutex, 0)
        KeInitializeSemaphore(done, 0, 10)

        def worker(number) -> None:
            for _ in range(5):
                wait(mutex)
                inside.append(number)
                worst.append(len(inside))
                pause()
                inside.remove(number)
                KeReleaseMutex(mutex, FALSE)
            KeReleaseSemaphore(done, 0, 1, FALSE)

        for number in range(3):
            start(worker, number)
        for _ in range(3):
            wait(done)
        return [max(worst), len(worst)]

    assert value_of(body, processors=3, seed=4) == [1, 15]


def test_a_thread_that_ends_with_a_kernel_mutex_bugchecks(bugcheck_of) -> None:
    """THREAD_TERMINATE_HELD_MUTEX: the thread, then the mutex."""
    seen = []

    def body() -> None:
        mutex = cast(ExAllocatePoolWithTag(NonPagedPoolNx, KMUTANT.size, 1), PKMUTEX)
        KeInitializeMutex(mutex, 0)

        def worker(Context) -> None:
            seen.extend([int(KeGetCurrentThread()), int(mutex)])
            wait(mutex)

        start(worker)
        pause()

    stop = bugcheck_of(body)
    assert stop.name == "THREAD_TERMINATE_HELD_MUTEX"
    assert list(stop.parameters[:2]) == seen
