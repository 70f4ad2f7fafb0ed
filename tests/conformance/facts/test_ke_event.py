"""Facts of events: what a call returns and leaves, at every level, and whom it wakes."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, WINE, Facts, as_tests, large, pause, poll, start, wait

EVENT = Facts(f"{KMTESTS}/ntos_ke/KeEvent.c")
SYNC = Facts(f"{WINE}/driver.c test_sync")
KINDS = [NotificationEvent, SynchronizationEvent]
LEVELS = [PASSIVE_LEVEL, APC_LEVEL, DISPATCH_LEVEL]
WAIT_NEXT = 4
"""KTHREAD.MiscFlags: the dispatcher is still held for the wait that follows."""


def new_event(kind: int, state: int = FALSE) -> Any:
    event = KEVENT()
    RtlFillMemory(event, sizeof(KEVENT), 0x55)
    KeInitializeEvent(event, kind, state)
    return event


@EVENT.fact(
    lambda kind, state, level: [kind, 6, state, True, state, level],
    kind=KINDS, state=[FALSE, TRUE], level=LEVELS,
)  # fmt: skip
def an_initialized_event_has_its_type_its_size_in_ulongs_its_state_and_no_waiter(
    kind: int, state: int, level: int
) -> list[Any]:
    KeRaiseIrql(level)
    event = new_event(kind, state)
    head = event.Header.WaitListHead
    empty = head.Flink == head.Blink == head
    header = event.Header
    found = [header.Type, header.Size, header.SignalState, empty, KeReadStateEvent(event)]
    return [*found, KeGetCurrentIrql()]


CALLS: dict[str, Any] = {
    "pulse": lambda event: KePulseEvent(event, 0, FALSE),
    "reset": KeResetEvent,
    "clear": KeClearEvent,
    "set": lambda event: KeSetEvent(event, 0, FALSE),
}
STATES = [0, 1, 0x12345678, -5]


@EVENT.fact(
    lambda kind, level, call, state: [
        None if call == "clear" else state, int(call == "set"), level
    ],
    kind=KINDS, level=LEVELS, call=list(CALLS), state=STATES,
)  # fmt: skip
def a_call_returns_the_state_it_finds_whatever_it_is_and_leaves_0_or_1(
    kind: int, level: int, call: str, state: int
) -> list[Any]:
    event = new_event(kind)
    KeRaiseIrql(level)
    event.Header.SignalState = state
    returned = CALLS[call](event)
    return [returned, KeReadStateEvent(event), KeGetCurrentIrql()]


@EVENT.fact(
    lambda level, routine: [0x456789AB, int(routine == "KeSetEvent"), True, 2, level],
    level=[PASSIVE_LEVEL, APC_LEVEL], routine=["KeSetEvent", "KePulseEvent"],
)  # fmt: skip
def with_Wait_the_call_returns_at_dispatch_level_and_the_thread_is_marked_WaitNext(
    level: int, routine: str
) -> list[Any]:
    event = new_event(NotificationEvent)
    KeRaiseIrql(level)
    event.Header.SignalState = 0x456789AB
    old = {"KeSetEvent": KeSetEvent, "KePulseEvent": KePulseEvent}[routine](event, 0, TRUE)
    thread = KeGetCurrentThread()
    found = [old, KeReadStateEvent(event), bool(thread.MiscFlags & WAIT_NEXT), KeGetCurrentIrql()]
    found.append(thread.WaitIrql)
    poll(event)
    return found


@EVENT.fact(lambda level: [STATUS_SUCCESS, level, False], level=[PASSIVE_LEVEL, APC_LEVEL])
def the_wait_after_Wait_goes_back_to_the_level_of_before(level: int) -> list[Any]:
    event, other = new_event(NotificationEvent), new_event(NotificationEvent, TRUE)
    KeRaiseIrql(level)
    KeSetEvent(event, 0, TRUE)
    status = wait(other)
    flag = bool(KeGetCurrentThread().MiscFlags & WAIT_NEXT)
    return [status, KeGetCurrentIrql(), flag]


# Five threads that wait


def waiting_threads(event: Any, count: int = 5) -> list[Any]:
    threads = []
    for _ in range(count):
        threads.append(start(lambda context: wait(event)))
        pause()
    return threads


def waiters(event: Any) -> list[int]:
    """The threads in the event's list, from their wait blocks."""
    head, found = event.Header.WaitListHead, []
    entry = head.Flink
    while entry != head:
        found.append(int(CONTAINING_RECORD(entry, KWAIT_BLOCK, "WaitListEntry").Thread))
        entry = entry.Flink
    return found


@EVENT.fact([True] * 6)
def waiters_queue_up_in_the_wait_list_in_the_order_in_which_they_came() -> list[bool]:
    event, threads, found = new_event(NotificationEvent), [], []
    found.append(waiters(event) == [])
    for _ in range(5):
        threads.append(start(lambda context: wait(event)))
        pause()
        found.append(waiters(event) == [int(thread) for thread in threads])
    KeSetEvent(event, 0, FALSE)
    return found


ROUTINES: dict[str, Any] = {"set": KeSetEvent, "pulse": KePulseEvent}


@EVENT.fact(
    lambda routine, increment: [
        0, int(routine == "set"), 0, [STATUS_SUCCESS] * 5, [max(min(8 + increment, 15), 8)] * 5
    ],
    routine=list(ROUTINES), increment=list(range(-1, 9)),
)  # fmt: skip
def a_notification_event_frees_all_its_waiters_and_boosts_each(
    routine: str, increment: int
) -> list[Any]:
    event = new_event(NotificationEvent)
    threads = waiting_threads(event)
    old = ROUTINES[routine](event, increment, FALSE)
    found = [old, KeReadStateEvent(event), len(waiters(event))]
    statuses = [wait(thread, large(-1_000_000)) for thread in threads]
    return [*found, statuses, [KeQueryPriorityThread(thread) for thread in threads]]


@EVENT.fact(
    lambda routine, increment: [
        (0, 0, 4 - n, STATUS_SUCCESS, max(min(8 + increment + n, 15), 8), STATUS_TIMEOUT)
        for n in range(4)
    ],
    routine=list(ROUTINES), increment=[-1, 0, 3, 8],
)  # fmt: skip
def a_synchronization_event_frees_one_waiter_a_call_and_stays_unset(
    routine: str, increment: int
) -> list[Any]:
    event = new_event(SynchronizationEvent)
    threads, found = waiting_threads(event), []
    for number, thread in enumerate(threads[:4]):
        old = ROUTINES[routine](event, increment + number, FALSE)
        state, left = KeReadStateEvent(event), len(waiters(event))
        status = wait(thread, large(-1_000_000))
        boosted = KeQueryPriorityThread(thread)
        found.append((old, state, left, status, boosted, poll(threads[number + 1])))
    KeSetEvent(event, 0, FALSE)
    return found


@EVENT.fact([8, STATUS_TIMEOUT, 5])
def threads_start_at_priority_8_and_do_not_wake_on_their_own() -> list[Any]:
    event = new_event(NotificationEvent)
    threads = waiting_threads(event)
    found = [KeQueryPriorityThread(threads[0]), wait(threads[0], large(-10_000))]
    found.append(len(waiters(event)))
    KeSetEvent(event, 0, FALSE)
    return found


# Polls


@SYNC.fact([STATUS_TIMEOUT, 0, 1, 0, 0, STATUS_TIMEOUT])
def a_notification_event_satisfies_any_number_of_polls() -> list[int]:
    event = new_event(NotificationEvent)
    found = [poll(event), KeReadStateEvent(event)]
    KeSetEvent(event, 0, FALSE)
    found += [KeReadStateEvent(event), poll(event), poll(event)]
    KeResetEvent(event)
    return [*found, poll(event)]


@SYNC.fact([STATUS_TIMEOUT, 0, STATUS_TIMEOUT])
def a_synchronization_event_satisfies_one_poll() -> list[int]:
    event = new_event(SynchronizationEvent)
    found = [poll(event)]
    KeSetEvent(event, 0, FALSE)
    return [*found, poll(event), poll(event)]


def poll_two(first: Any, second: Any, kind: int) -> int:
    objects = (PVOID * 2)()
    objects[0], objects[1] = first, second
    return KeWaitForMultipleObjects(2, objects, kind, Executive, KernelMode, FALSE, large(0), NULL)


@SYNC.fact([STATUS_TIMEOUT, 0, 0, 1, STATUS_TIMEOUT])
def WaitAny_takes_the_lowest_index_that_is_signalled_and_no_other() -> list[int]:
    manual, automatic = new_event(NotificationEvent), new_event(SynchronizationEvent)
    found = [poll_two(manual, automatic, WaitAny)]
    KeSetEvent(manual, 0, FALSE)
    KeSetEvent(automatic, 0, FALSE)
    found += [poll_two(manual, automatic, WaitAny), poll(automatic)]
    KeResetEvent(manual)
    KeSetEvent(automatic, 0, FALSE)
    return [*found, *(poll_two(manual, automatic, WaitAny) for _ in range(2))]


@SYNC.fact([0, STATUS_TIMEOUT, STATUS_TIMEOUT, 0])
def WaitAll_consumes_all_or_nothing() -> list[int]:
    manual, automatic = new_event(NotificationEvent), new_event(SynchronizationEvent)
    KeSetEvent(manual, 0, FALSE)
    KeSetEvent(automatic, 0, FALSE)
    found = [poll_two(manual, automatic, WaitAll) for _ in range(2)]
    KeSetEvent(automatic, 0, FALSE)
    KeResetEvent(manual)
    return [*found, poll_two(manual, automatic, WaitAll), poll(automatic)]


@SYNC.fact([0, 1, 1])
def WaitAny_finds_the_second_once_the_first_is_consumed() -> list[int]:
    manual, automatic = new_event(NotificationEvent, TRUE), new_event(SynchronizationEvent, TRUE)
    return [poll_two(automatic, manual, WaitAny) for _ in range(3)]


@SYNC.fact([0, STATUS_TIMEOUT, STATUS_TIMEOUT, 0, 0, STATUS_TIMEOUT, 0, STATUS_TIMEOUT])
def an_event_of_IoCreateSynchronizationEvent_starts_set_and_is_one_object_with_its_handle() -> Any:
    handle = HANDLE()
    event = IoCreateSynchronizationEvent(NULL, handle)

    def poll_handle() -> int:
        return ZwWaitForSingleObject(handle[0], FALSE, large(0))

    found = [poll(event)]
    KeResetEvent(event)
    found += [poll(event), poll_handle(), ZwSetEvent(handle[0], NULL), poll(event), poll_handle()]
    KeSetEvent(event, 0, FALSE)
    return [*found, poll_handle(), poll(event)]


test_fact = as_tests(EVENT, SYNC)
