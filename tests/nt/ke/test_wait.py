"""Waits: on one object, on any, on all, with time-outs, at the wrong IRQL."""

import pytest

from ntsim.errors import Hang
from ntsim.wdm import *


def large(value: int):
    made = LARGE_INTEGER()
    made.QuadPart = value
    return made


def event(kind: int = NotificationEvent, state: int = FALSE):
    made = KEVENT()
    KeInitializeEvent(made, kind, state)
    return made


def wait_one(object_, timeout=NULL) -> int:
    return KeWaitForSingleObject(object_, Executive, KernelMode, FALSE, timeout)


def wait_many(objects, wait_type: int, timeout=NULL, blocks=NULL) -> int:
    array = (PVOID * 64)()
    for index, each in enumerate(objects):
        array[index] = each
    return KeWaitForMultipleObjects(
        len(objects), array, wait_type, Executive, KernelMode, FALSE, timeout, blocks
    )


def start(routine, context=0) -> None:
    _, handle = PsCreateSystemThread(0, NULL, NULL, NULL, routine, context)
    ZwClose(handle)


def test_a_wait_times_out_after_its_time(value_of) -> None:
    def body() -> list[int]:
        before = KeQueryInterruptTime()
        status = wait_one(event(), large(-10_000_000))
        return [status, (KeQueryInterruptTime() - before) // 1000]

    assert value_of(body) == [STATUS_TIMEOUT, 10_000]


def test_a_zero_timeout_polls(value_of) -> None:
    def body() -> list[int]:
        return [wait_one(event(), large(0)), wait_one(event(state=TRUE), large(0))]

    assert value_of(body) == [STATUS_TIMEOUT, STATUS_SUCCESS]


def test_an_absolute_timeout_in_the_past_is_over_at_once(value_of) -> None:
    assert value_of(lambda: wait_one(event(), large(1))) == STATUS_TIMEOUT


@pytest.mark.parametrize("first_signalled", [0, 1, 2])
def test_wait_any_returns_the_lowest_signalled_index_and_consumes_only_that(
    value_of, first_signalled: int
) -> None:
    def body() -> list[int]:
        objects = [event(SynchronizationEvent, n >= first_signalled) for n in range(3)]
        status = wait_many(objects, WaitAny)
        return [status, *(KeReadStateEvent(each) for each in objects)]

    left = [int(n > first_signalled) for n in range(3)]
    assert value_of(body) == [first_signalled, *left]


def test_wait_all_waits_for_the_last_and_consumes_all_at_once(value_of) -> None:
    def body() -> list[int]:
        objects = [event(SynchronizationEvent, n != 1) for n in range(3)]
        states = []

        def signal(Context) -> None:
            states.append(KeReadStateEvent(objects[0]))
            KeSetEvent(objects[1], 0, FALSE)

        start(signal)
        status = wait_many(objects, WaitAll)
        return [status, *states, *(KeReadStateEvent(each) for each in objects)]

    assert value_of(body, processors=2) == [STATUS_SUCCESS, 1, 0, 0, 0]


def test_a_wait_any_blocked_is_ended_by_the_object_that_is_signalled(value_of) -> None:
    def body() -> list[int]:
        objects = [event(SynchronizationEvent) for _ in range(3)]
        start(lambda Context: KeSetEvent(objects[2], 0, FALSE) and None)
        return [wait_many(objects, WaitAny), KeReadStateEvent(objects[2])]

    assert value_of(body) == [2, 0]


def test_more_than_three_objects_without_wait_blocks_bugcheck_0xc(bugcheck_of) -> None:
    stop = bugcheck_of(lambda: wait_many([event() for _ in range(4)], WaitAny))
    assert stop.code == 0xC


def test_more_than_64_objects_bugcheck_0xc_even_with_wait_blocks(bugcheck_of) -> None:
    def body() -> None:
        array = (PVOID * 65)()
        blocks = ExAllocatePoolWithTag(NonPagedPoolNx, 65 * KWAIT_BLOCK.size, 1)
        KeWaitForMultipleObjects(65, array, WaitAny, Executive, KernelMode, FALSE, NULL, blocks)

    assert bugcheck_of(body).code == 0xC


def test_64_objects_with_wait_blocks_are_waited_for(value_of) -> None:
    def body() -> int:
        objects = [event() for _ in range(64)]
        blocks = ExAllocatePoolWithTag(NonPagedPoolNx, 64 * KWAIT_BLOCK.size, 1)
        start(lambda Context: KeSetEvent(objects[63], 0, FALSE) and None)
        return wait_many(objects, WaitAny, blocks=blocks)

    assert value_of(body) == 63


def test_a_thread_can_be_waited_for(value_of) -> None:
    def body() -> list:
        done = []
        _, handle = PsCreateSystemThread(0, NULL, NULL, NULL, lambda c: done.append(c), 5)
        status, thread = ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, NULL)
        running = wait_one(thread, large(0))
        return [status, running, wait_one(thread), done, wait_one(thread)]

    assert value_of(body, processors=1) == [0, STATUS_TIMEOUT, 0, [5], 0]


def test_waiting_for_the_running_thread_times_out(value_of) -> None:
    assert value_of(lambda: wait_one(KeGetCurrentThread(), large(0))) == STATUS_TIMEOUT


def test_a_wait_that_nothing_ends_is_a_hang_that_names_what_is_waited_for(run_driver) -> None:
    with pytest.raises(Hang) as caught:
        run_driver(lambda: wait_one(event()))
    (line,) = caught.value.waits
    assert "System thread" in line
    assert "waits for notification event 0x" in line


def test_waiting_at_dispatch_level_outside_a_dpc_blocks_and_comes_back_at_that_level(
    value_of,
) -> None:
    """Inferred: a free build does not look at the level; another processor ends the wait."""

    def body() -> list[int]:
        waited = event()
        start(lambda Context: KeSetEvent(waited, 0, FALSE) and None)
        KeRaiseIrqlToDpcLevel()
        return [wait_one(waited), KeGetCurrentIrql()]

    assert value_of(body, processors=2) == [STATUS_SUCCESS, 2]


@pytest.mark.parametrize(
    "use",
    [
        lambda: wait_one(NULL),
        lambda: wait_many([event(), NULL], WaitAny),
        lambda: KeSetEvent(NULL, 0, FALSE),
        lambda: KeReleaseSemaphore(NULL, 0, 1, FALSE),
        lambda: KeReleaseMutex(NULL, FALSE),
        lambda: KeCancelTimer(NULL),
    ],
    ids=["wait", "wait any", "event", "semaphore", "mutex", "timer"],
)
def test_a_null_object_bugchecks_0xa_because_the_dispatcher_locks_it_at_dispatch_level(
    bugcheck_of, use
) -> None:
    stop = bugcheck_of(use)
    assert (stop.code, stop.parameters[:2]) == (0xA, (0, 2))


def test_an_object_in_memory_that_is_paged_out_bugchecks_0xa(bugcheck_of) -> None:
    """Dispatcher objects must be resident (WDK "Defining and Using an Event Object")."""
    seen = []

    def body() -> None:
        seen.append(ExAllocatePoolWithTag(PagedPool, 8192, 1) + 4096)
        wait_one(seen[0], large(0))

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[:2]) == (0xA, (seen[0], 2))


def test_a_delay_lasts_at_least_its_interval_and_returns_success(value_of) -> None:
    def body() -> list[int]:
        before = KeQueryInterruptTime()
        status = KeDelayExecutionThread(KernelMode, FALSE, large(-12_345))
        return [status, (KeQueryInterruptTime() - before) // 100]

    assert value_of(body) == [STATUS_SUCCESS, 123]


@pytest.mark.parametrize(("processors", "seed"), [(1, 0), (1, 7), (8, 0), (8, 7)])
def test_two_hundred_threads_each_take_their_turn(value_of, processors: int, seed: int) -> None:
    def body() -> int:
        turns = [event(SynchronizationEvent) for _ in range(201)]
        order = []

        def runner(number) -> None:
            wait_one(turns[number])
            order.append(number)
            KeSetEvent(turns[number + 1], 0, FALSE)

        for number in range(200):
            start(runner, number)
        KeSetEvent(turns[0], 0, FALSE)
        wait_one(turns[200])
        return order == list(range(200))

    assert value_of(body, processors=processors, seed=seed, record=False) is True
