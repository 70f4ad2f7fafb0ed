"""KQUEUE: entries for worker threads, of which no more than a limit run at a time.

A thread belongs to the queue that it last asked for an entry (KTHREAD.Queue, the queue's
ThreadListHead). SignalState is the number of entries queued. Who waits for the shortest time is
served first; a thread of the queue that asks again gives up its place in the count for it.

Source: WDK "Driver-Managed Queues"; Windows Internals 7, part 1, chapter 6, "I/O completion ports";
ReactOS ntoskrnl/ke/queue.c; layouts from the 19041 symbols.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.ke import KQUEUE, KTHREAD
from ntsim.abi.kernel_enums import QueueObject
from ntsim.abi.scalars import BOOLEAN, KPROCESSOR_MODE, LONG, PVOID, ULONG
from ntsim.abi.wdm_constants import WaitDequeue, WrQueue
from ntsim.nt.events import WaitEnded
from ntsim.nt.exports import export
from ntsim.nt.ke.thread import QUEUE_LIST_ENTRY, Thread
from ntsim.nt.ke.unwait import (
    ENTRIES,
    ki_last_waiter,
    ki_leave_queue,
    ki_take_entry,
    ki_unwait,
)
from ntsim.nt.ke.wait import (
    STATUS_KERNEL_APC,
    ki_block,
    ki_due_time,
    ki_link_wait,
    ki_lock_object,
    ki_signal,
)
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.abi.ke import PKQUEUE
    from ntsim.abi.rtl import PLARGE_INTEGER, PLIST_ENTRY
    from ntsim.nt.kernel import Kernel

ABANDONED = 1
"""DISPATCHER_HEADER.QueueControlFlags: the queue was run down."""


def ki_insert_queue(nt: Kernel, queue: Any, entry: int, at_head: bool) -> int:
    """Hand an entry to a waiting thread if another may run, else queue it; how many there were."""
    ki_lock_object(nt, int(queue))
    v = queue._v
    before: int = v.Header_SignalState
    nt.il.progress += 1
    waiter = ki_last_waiter(nt, queue) if v.CurrentCount < v.MaximumCount else None
    if waiter is not None:
        lists.write_pointer(nt.mmu, entry, 0)
        ki_unwait(nt, waiter, entry)
        return before
    insert = lists.insert_head if at_head else lists.insert_tail
    insert(nt.mmu, int(queue) + ENTRIES, entry)
    v.Header_SignalState = before + 1
    ki_signal(nt, queue.Header)
    return before


def ki_remove_queue(
    nt: Kernel, queue: Any, mode: int, alertable: bool, timeout: Any, most: int = 1
) -> list[int]:
    """Up to `most` entries, or one status: STATUS_TIMEOUT, STATUS_USER_APC, STATUS_ABANDONED.

    A thread that had to wait gets the one entry that ended its wait (inferred).
    """
    thread = nt.thread
    nt.ki.deliver_apcs(thread)
    ki_lock_object(nt, int(queue))
    v = queue._v
    if v.Header_QueueControlFlags & ABANDONED:
        return [ntstatus.STATUS_ABANDONED]
    ki_join_queue(nt, thread, queue)
    due = ki_due_time(nt, timeout)
    while True:
        if v.Header_SignalState > 0 and v.CurrentCount - 1 < v.MaximumCount:
            count = min(v.Header_SignalState, most)
            return [ki_take_entry(nt, queue) for _ in range(count)]
        early = nt.ki.interrupted_wait(thread, mode, alertable)
        if early is not None:
            return [early]
        if due is not None and due <= nt.il.now:
            return [ntstatus.STATUS_TIMEOUT]
        ki_link_wait(nt, thread, [int(queue)], WaitDequeue, 0)
        status = ki_block(nt, thread, due, [int(queue)], mode, WrQueue, alertable)
        if status != STATUS_KERNEL_APC:
            nt.emit(WaitEnded, "an entry" if status >> 32 else ntstatus.status_name(status))
            return [status]


def ki_join_queue(nt: Kernel, thread: Thread, queue: Any) -> None:
    """The current thread belongs to the queue from now on and counts as running in it."""
    v = thread.v
    if v.Queue == int(queue):
        return
    ki_leave_queue(nt, thread)
    v.Queue = int(queue)
    lists.insert_tail(nt.mmu, int(queue.ThreadListHead), thread.va + QUEUE_LIST_ENTRY)
    queue._v.CurrentCount += 1


@export(irql="<= DISPATCH")
def KeInitializeQueue(nt: Kernel, Queue: PKQUEUE, Count: ULONG) -> None:
    """An empty queue for which Count threads may run at once; 0: one a processor. Source: WDK."""
    v = Queue._v
    v.Header_Lock = 0
    v.Header_Type, v.Header_Size, v.Header_SignalState = QueueObject, KQUEUE.size // 4, 0
    for head in (Queue.Header.WaitListHead, Queue.EntryListHead, Queue.ThreadListHead):
        lists.initialize(nt.mmu, int(head))
    v.CurrentCount, v.MaximumCount = 0, Count or len(nt.processors)


@export(irql="<= DISPATCH")
def KeInsertQueue(nt: Kernel, Queue: PKQUEUE, Entry: PLIST_ENTRY) -> LONG:
    """Queue an entry behind the others, or wake a thread with it; the old number of entries.

    Source: WDK KeInsertQueue.
    """
    return ki_insert_queue(nt, Queue, int(Entry), at_head=False)


@export(irql="<= DISPATCH")
def KeInsertHeadQueue(nt: Kernel, Queue: PKQUEUE, Entry: PLIST_ENTRY) -> LONG:
    """The same before the others. Source: WDK KeInsertHeadQueue."""
    return ki_insert_queue(nt, Queue, int(Entry), at_head=True)


@export(irql="<= APC, or <= DISPATCH if Timeout points to zero")
def KeRemoveQueue(
    nt: Kernel, Queue: PKQUEUE, WaitMode: KPROCESSOR_MODE, Timeout: PLARGE_INTEGER
) -> PLIST_ENTRY:
    """The next entry, or in its place a status: timed out, a user APC, the queue run down.

    The caller compares with the statuses before it looks at the entry; it is never NULL. Source:
    WDK KeRemoveQueue.
    """
    return ki_remove_queue(nt, Queue, WaitMode, False, Timeout)[0]  # type: ignore[return-value]


@export(irql="<= APC, or <= DISPATCH if Timeout points to zero")
def KeRemoveQueueEx(
    nt: Kernel,
    Queue: PKQUEUE,
    WaitMode: KPROCESSOR_MODE,
    Alertable: BOOLEAN,
    Timeout: PLARGE_INTEGER,
    EntryArray: PVOID,
    Count: ULONG,
) -> ULONG:
    """Up to Count entries at once into EntryArray; their number, 1 also with a status in the first.

    Source: ntifs.h; the status in the first place as KeRemoveQueue returns it (inferred).
    """
    found = ki_remove_queue(nt, Queue, WaitMode, bool(Alertable), Timeout, Count)
    for index, entry in enumerate(found):
        lists.write_pointer(nt.mmu, int(EntryArray) + 8 * index, entry)
    return len(found)


@export(irql="<= DISPATCH")
def KeReadStateQueue(nt: Kernel, Queue: PKQUEUE) -> LONG:
    """The number of entries. Source: WDK KeReadStateQueue."""
    state: int = Queue._v.Header_SignalState
    return state


@export(irql="<= DISPATCH")
def KeRundownQueue(nt: Kernel, Queue: PKQUEUE) -> PLIST_ENTRY:
    """Empty the queue for good; its first entry, linked in a ring with the others, or NULL.

    Threads that wait, and those that ask later, get STATUS_ABANDONED (since Windows 7); none
    belongs to the queue any more. Source: WDK KeRundownQueue.
    """
    ki_lock_object(nt, int(Queue))
    v = Queue._v
    v.Header_QueueControlFlags |= ABANDONED
    while (waiter := ki_last_waiter(nt, Queue)) is not None:
        ki_unwait(nt, waiter, ntstatus.STATUS_ABANDONED)
    offset = KTHREAD.offset_of("Queue") - QUEUE_LIST_ENTRY
    for entry in lists.entries(nt.mmu, int(Queue.ThreadListHead)):
        lists.remove(nt.mmu, entry)
        lists.write_pointer(nt.mmu, entry + offset, 0)
    head = int(Queue) + ENTRIES
    first = nt.read_pointer(head)
    if first == head:
        return 0  # type: ignore[return-value]
    lists.remove(nt.mmu, head)
    lists.initialize(nt.mmu, head)
    v.Header_SignalState = 0
    return first  # type: ignore[return-value]
