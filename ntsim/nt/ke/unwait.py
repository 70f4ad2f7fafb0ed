"""How waits end, and what threads that run or wait mean to the KQUEUE they belong to.

A thread of a queue (KTHREAD.Queue) counts in its CurrentCount while it runs. Whenever it waits, the
queue may let another of its threads go on; when its wait ends it counts again, whatever the limit.
Source: Windows Internals 7, part 1, chapter 6, "I/O completion ports"; ReactOS ntoskrnl/ke/queue.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import bugcodes
from ntsim.abi.ex import WORK_QUEUE_ITEM
from ntsim.abi.ke import KQUEUE, KWAIT_BLOCK
from ntsim.abi.wdm_constants import WaitDequeue
from ntsim.nt.ke.scheduler import ki_ready_thread
from ntsim.nt.ke.thread import QUEUE_LIST_ENTRY, Thread
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

ENTRIES, WAITERS = KQUEUE.offset_of("EntryListHead"), KQUEUE.offset_of("Header.WaitListHead")
_COUNT = 0xFFFF_FFFF


def ki_wait_blocks(nt: Kernel, thread: Thread) -> list[Any]:
    """The wait blocks of a waiting thread."""
    first = KWAIT_BLOCK.at(nt.mmu, thread.v.WaitBlockList)
    return [first[i] for i in range(thread.v.WaitBlockCount)]


def ki_unwait(nt: Kernel, thread: Thread, status: int, boost: int = 0) -> None:
    """End a thread's wait: unlink its blocks, cancel its timeout, make it ready."""
    for block in ki_wait_blocks(nt, thread):
        if lists.read_pointer(nt.mmu, int(block)):
            lists.remove(nt.mmu, int(block))
            lists.write_pointer(nt.mmu, int(block), 0)
    v = thread.v
    v.WaitStatus = status
    if v.Queue:
        KQUEUE.at(nt.mmu, v.Queue)._v.CurrentCount += 1
    nt.ke.timers.cancel(thread.k.Timer)
    ki_ready_thread(nt, thread, boost)


def ki_activate_waiter(nt: Kernel, queue: Any) -> None:
    """A thread of the queue stops running: another may take an entry in its place."""
    v = queue._v
    v.CurrentCount = v.CurrentCount - 1 & _COUNT
    if v.Header_SignalState > 0 and v.CurrentCount < v.MaximumCount:
        waiter = ki_last_waiter(nt, queue)
        if waiter is not None:
            ki_unwait(nt, waiter, ki_take_entry(nt, queue))


def ki_last_waiter(nt: Kernel, queue: Any) -> Thread | None:
    """The thread that waits for an entry for the shortest time."""
    head = int(queue) + WAITERS
    at = nt.read_pointer(head + 8)
    while at != head:
        v = KWAIT_BLOCK.at(nt.mmu, at)._v
        if v.WaitType == WaitDequeue:
            return nt.ke.threads.get(v.Thread)
        at = nt.read_pointer(at + 8)
    return None


def ki_take_entry(nt: Kernel, queue: Any) -> int:
    """Unlink the first entry; 0x96 if its links were overwritten while it was queued."""
    entry = nt.read_pointer(int(queue) + ENTRIES)
    item = WORK_QUEUE_ITEM.at(nt.mmu, entry)._v
    if not item.List_Flink or not item.List_Blink:
        routine = item.WorkerRoutine
        nt.bugcheck(bugcodes.INVALID_WORK_QUEUE_ITEM, entry, int(queue), 0, routine)
    lists.remove(nt.mmu, entry)
    item.List_Flink = 0
    queue._v.Header_SignalState -= 1
    return entry


def ki_leave_queue(nt: Kernel, thread: Thread) -> None:
    """The running thread ends or turns to another queue."""
    v = thread.v
    if v.Queue:
        queue = KQUEUE.at(nt.mmu, v.Queue)
        v.Queue = 0
        lists.remove(nt.mmu, thread.va + QUEUE_LIST_ENTRY)
        ki_activate_waiter(nt, queue)
