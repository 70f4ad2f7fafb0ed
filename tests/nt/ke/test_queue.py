"""KQUEUE: entries handed to threads, never more of them running than the queue's limit.

Source: WDK "Driver-Managed Queues", KeInitializeQueue, KeInsertQueue, KeInsertHeadQueue,
KeRemoveQueue, KeRundownQueue, KeReadStateQueue; ReactOS ntoskrnl/ke/queue.c (order of waiters, the
counts, what a waiting thread does for its queue); Windows Internals 7, part 1, chapter 6, "I/O
completion ports" (the concurrency value).
"""

import pytest

from ntsim.abi.kernel_enums import QueueObject
from ntsim.wdm import *

WAITING_AND_LATE = -1_000_000


def large(value: int):
    made = LARGE_INTEGER()
    made.QuadPart = value
    return made


def new_queue(limit: int = 1):
    made = KQUEUE()
    KeInitializeQueue(made, limit)
    return made


def new_entries(count: int) -> list:
    block = ExAllocatePoolWithTag(NonPagedPool, 0x40 * count, 0x74736554)
    return [cast(int(block) + 0x40 * i, LIST_ENTRY) for i in range(count)]


def remove(queue, timeout=NULL) -> int:
    return int(KeRemoveQueue(queue, KernelMode, timeout))


def start(routine, context=0):
    _, handle = PsCreateSystemThread(OBJ_KERNEL_HANDLE, NULL, NULL, NULL, routine, context)
    _, thread = ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, NULL)
    ZwClose(handle)
    return thread


def pause(milliseconds: int = 1) -> None:
    KeDelayExecutionThread(KernelMode, FALSE, large(-10_000 * milliseconds))


def ended(*threads) -> None:
    for thread in threads:
        KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, NULL)
        ObDereferenceObject(thread)


def list_of(head) -> list[int]:
    found, at = [], int(head.Flink)
    while at != int(head):
        found.append(at)
        at = int(cast(at, LIST_ENTRY).Flink)
    return found


# The structure


def test_a_new_queue_is_an_empty_dispatcher_object(value_of) -> None:
    def body() -> list[int]:
        queue = new_queue(3)
        heads = (queue.Header.WaitListHead, queue.EntryListHead, queue.ThreadListHead)
        return [
            queue.Header.Type, queue.Header.Size, queue.Header.SignalState, queue.CurrentCount,
            queue.MaximumCount, *(len(list_of(head)) for head in heads),
        ]  # fmt: skip

    assert value_of(body) == [QueueObject, KQUEUE.size // 4, 0, 0, 3, 0, 0, 0]


@pytest.mark.parametrize("processors", [1, 3])
def test_a_limit_of_zero_is_the_number_of_processors(value_of, processors) -> None:
    assert value_of(lambda: new_queue(0).MaximumCount, processors=processors) == processors


def test_inserting_returns_how_many_there_were_and_keeps_the_order(value_of) -> None:
    def body() -> tuple:
        queue = new_queue()
        a, b, c = new_entries(3)
        before = [KeInsertQueue(queue, a), KeInsertQueue(queue, b), KeInsertHeadQueue(queue, c)]
        linked = list_of(queue.EntryListHead) == [int(c), int(a), int(b)]
        state = KeReadStateQueue(queue)
        out = [remove(queue) == int(each) for each in (c, a, b)]
        return before, linked, state, out, KeReadStateQueue(queue)

    assert value_of(body) == ([0, 1, 2], True, 3, [True] * 3, 0)


def test_a_removed_entry_is_unlinked_its_forward_link_cleared(value_of) -> None:
    def body() -> tuple[int, list[int]]:
        queue, (entry,) = new_queue(), new_entries(1)
        KeInsertQueue(queue, entry)
        remove(queue)
        return int(entry.Flink), list_of(queue.EntryListHead)

    assert value_of(body) == (0, [])


def test_a_thread_that_removed_belongs_to_the_queue_and_counts_as_running(value_of) -> None:
    def body() -> tuple:
        queue, (a, b) = new_queue(4), new_entries(2)
        KeInsertQueue(queue, a)
        KeInsertQueue(queue, b)
        remove(queue)
        thread = cast(KeGetCurrentThread(), KTHREAD)
        mine = list_of(queue.ThreadListHead) == [int(thread) + KTHREAD.offset_of("QueueListEntry")]
        first = int(thread.Queue) == int(queue), mine, queue.CurrentCount
        remove(queue)
        return first, queue.CurrentCount

    assert value_of(body) == ((True, True, 1), 1)


def test_a_thread_that_turns_to_another_queue_leaves_the_first(value_of) -> None:
    def body() -> tuple:
        first, second, (a, b) = new_queue(), new_queue(), new_entries(2)
        KeInsertQueue(first, a)
        KeInsertQueue(second, b)
        remove(first)
        remove(second)
        members = [len(list_of(each.ThreadListHead)) for each in (first, second)]
        return members, [first.CurrentCount, second.CurrentCount]

    assert value_of(body) == ([0, 1], [0, 1])


# Waiting


@pytest.mark.parametrize("timeout", [0, WAITING_AND_LATE])
def test_an_empty_queue_times_out_and_the_thread_goes_on_counting(value_of, timeout) -> None:
    def body() -> list[int]:
        queue = new_queue()
        return [remove(queue, large(timeout)), queue.CurrentCount, KeReadStateQueue(queue)]

    assert value_of(body) == [STATUS_TIMEOUT, 1, 0]


def test_an_entry_goes_straight_to_a_waiting_thread(value_of) -> None:
    def body() -> tuple:
        queue, (entry,), got = new_queue(), new_entries(1), []
        worker = start(lambda _: got.append(remove(queue)))
        pause()
        waiting = len(list_of(queue.Header.WaitListHead)), queue.CurrentCount
        old = KeInsertQueue(queue, entry)
        state = KeReadStateQueue(queue)
        ended(worker)
        return waiting, old, state, got == [int(entry)]

    assert value_of(body) == ((1, 0), 0, 0, True)


def test_the_thread_that_waits_for_the_shortest_time_is_served_first(value_of) -> None:
    """Last in, first out: its stack and cache are the warmest."""

    def body() -> list[int]:
        queue, (entry,), got = new_queue(), new_entries(1), []

        def work(Context) -> None:
            if remove(queue, large(-10_000_000)) != STATUS_TIMEOUT:
                got.append(int(Context))

        threads = []
        for number in range(3):
            threads.append(start(work, number))
            pause()
        KeInsertQueue(queue, entry)
        ended(*threads)
        return got

    assert value_of(body) == [2]


def test_a_waiter_is_a_wait_block_of_the_queue_with_its_reason(value_of) -> None:
    def body() -> list[int]:
        queue = new_queue()
        worker = start(lambda _: remove(queue, large(-100_000)))
        pause()
        thread = cast(worker, KTHREAD)
        block = thread.WaitBlock[0]
        found = [
            int(block.Object) == int(queue), block.WaitType, thread.WaitReason,
            list_of(queue.Header.WaitListHead) == [int(block)],
        ]  # fmt: skip
        ended(worker)
        return [*found, len(list_of(queue.Header.WaitListHead))]

    assert value_of(body) == [True, WaitDequeue, WrQueue, True, 0]


# The limit


def test_no_more_threads_run_than_the_limit_while_none_of_them_waits(value_of) -> None:
    """An entry waits, though a thread waits for it too: the one thread allowed is running."""

    def body() -> tuple:
        queue, entries, got = new_queue(1), new_entries(2), []
        worker = start(lambda _: got.append(remove(queue, large(-10_000_000))))
        pause()
        KeInsertQueue(queue, entries[0])
        busy = remove(queue, large(0))  # nothing left: it went to the worker
        pause()
        ended(worker)
        KeInsertQueue(queue, entries[1])
        mine = remove(queue) == int(entries[1])
        other = start(lambda _: got.append(remove(queue, large(-10_000_000))))
        KeStallExecutionProcessor(50)
        left = new_entries(1)[0]
        KeInsertQueue(queue, left)
        held = KeReadStateQueue(queue), queue.CurrentCount
        pause()  # this thread waits: the queue lets the other run
        after = KeReadStateQueue(queue), got[-1] == int(left)
        ended(other)
        return busy, mine, held, after

    assert value_of(body) == (STATUS_TIMEOUT, True, (1, 1), (0, True))


def test_a_running_thread_that_waits_makes_room_and_counts_again_when_it_returns(value_of) -> None:
    def body() -> list[int]:
        queue, entries, seen = new_queue(1), new_entries(2), []
        for entry in entries:
            KeInsertQueue(queue, entry)
        remove(queue)
        seen.append(queue.CurrentCount)
        gate = KEVENT()
        KeInitializeEvent(gate, NotificationEvent, FALSE)

        def second(Context) -> None:
            remove(queue)
            seen.append(queue.CurrentCount)
            KeSetEvent(gate, 0, FALSE)
            pause(5)

        worker = start(second)
        KeWaitForSingleObject(gate, Executive, KernelMode, FALSE, NULL)
        seen.append(queue.CurrentCount)  # the worker is pausing
        ended(worker)
        seen.append(queue.CurrentCount)
        return seen

    assert value_of(body) == [1, 1, 1, 1]


def test_a_thread_that_ends_leaves_its_queue_and_lets_another_go_on(value_of) -> None:
    def body() -> tuple:
        queue, (a, b), got = new_queue(1), new_entries(2), []

        def work(Context) -> None:
            got.append(remove(queue))
            while KeReadStateQueue(queue) == 0:
                KeStallExecutionProcessor(10)

        workers = [start(work), start(work)]
        pause()
        KeInsertQueue(queue, a)
        KeStallExecutionProcessor(100)
        KeInsertQueue(queue, b)
        pause()
        served = [int(a), int(b)] == got
        KeInsertQueue(queue, a)
        ended(*workers)
        return served, len(list_of(queue.ThreadListHead)), queue.CurrentCount

    assert value_of(body, processors=2) == (True, 0, 0)


# Several entries at once


def test_remove_queue_ex_takes_what_is_there_up_to_the_callers_count(value_of) -> None:
    def body() -> tuple:
        queue, entries = new_queue(), new_entries(5)
        for entry in entries:
            KeInsertQueue(queue, entry)
        array = (PVOID * 4)()
        many = KeRemoveQueueEx(queue, KernelMode, FALSE, NULL, array, 3)
        right = [int(array[i]) for i in range(4)] == [*(int(each) for each in entries[:3]), 0]
        rest = KeRemoveQueueEx(queue, KernelMode, FALSE, NULL, array, 4)
        empty = KeRemoveQueueEx(queue, KernelMode, FALSE, large(0), array, 4)
        return many, right, rest, empty, int(array[0]), queue.CurrentCount

    assert value_of(body) == (3, True, 2, 1, STATUS_TIMEOUT, 1)


# Run-down


def test_run_down_returns_the_entries_as_a_list_without_a_head(value_of) -> None:
    def body() -> tuple:
        queue, entries = new_queue(), new_entries(3)
        for entry in entries:
            KeInsertQueue(queue, entry)
        first = KeRundownQueue(queue)
        found, at = [], int(first)
        for _ in range(3):
            found.append(at)
            at = int(cast(at, LIST_ENTRY).Flink)
        return found == [int(each) for each in entries], at == int(first)

    assert value_of(body) == (True, True)


def test_run_down_of_an_empty_queue_is_null_and_frees_its_threads(value_of) -> None:
    def body() -> tuple:
        queue = new_queue()
        remove(queue, large(0))
        empty = int(KeRundownQueue(queue))
        thread = cast(KeGetCurrentThread(), KTHREAD)
        return empty, int(thread.Queue), len(list_of(queue.ThreadListHead))

    assert value_of(body) == (0, 0, 0)


def test_run_down_wakes_waiters_and_later_ones_do_not_wait(value_of) -> None:
    """WDK KeRundownQueue, since Windows 7: both get STATUS_ABANDONED."""

    def body() -> list[int]:
        queue, got = new_queue(), []
        worker = start(lambda _: got.append(remove(queue)))
        pause()
        KeRundownQueue(queue)
        ended(worker)
        return [*got, remove(queue)]

    assert value_of(body) == [STATUS_ABANDONED, STATUS_ABANDONED]


# Mistakes


def test_an_entry_whose_links_were_overwritten_is_bug_check_0x96(bugcheck_of) -> None:
    """INVALID_WORK_QUEUE_ITEM: the entry, the queue, zero, the worker routine it would have."""

    def body() -> None:
        queue, (entry,) = new_queue(), new_entries(1)
        cast(int(entry) + 0x10, ULONGLONG)[0] = 0x1234
        KeInsertQueue(queue, entry)
        entry.Blink = 0
        remove(queue)

    stop = bugcheck_of(body)
    assert stop.code == 0x96
    assert stop.parameters[2:] == (0, 0x1234)
    assert stop.parameters[0] and stop.parameters[1]


def test_waiting_for_a_queue_object_does_not_take_an_entry(value_of) -> None:
    def body() -> tuple[int, int]:
        queue, (entry,) = new_queue(), new_entries(1)
        waits = start(lambda _: KeWaitForSingleObject(queue, Executive, KernelMode, FALSE, NULL))
        pause()
        KeInsertQueue(queue, entry)
        ended(waits)
        return KeReadStateQueue(queue), len(list_of(queue.EntryListHead))

    assert value_of(body) == (1, 1)


def test_removing_with_a_wait_in_a_dpc_is_0xb8(bugcheck_of) -> None:
    def body() -> None:
        queue, dpc = new_queue(), KDPC()
        KeInitializeDpc(dpc, lambda *_: KeRemoveQueue(queue, KernelMode, NULL), NULL)
        KeInsertQueueDpc(dpc, NULL, NULL)
        pause()

    assert bugcheck_of(body).code == 0xB8
