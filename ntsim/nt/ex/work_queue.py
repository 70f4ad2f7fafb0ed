"""System worker threads and the queue they take work items from.

There is one queue with a list for each priority; a worker runs an item at the item's priority. A
worker is created when an item waits and every worker is inside another item, so that an item may
wait for one behind it; workers stay for good. After each item its damage is looked for: a raised
IRQL (0xE1), disabled APCs or an attached process (0x1). Source: Windows Internals 7, part 2,
chapter 8, "System worker threads"; bug checks 0xE1, 0x96 and 0x1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import bugcodes
from ntsim.abi import wdm_constants as c
from ntsim.abi.ex import WORK_QUEUE_ITEM
from ntsim.abi.kernel_enums import PriQueueObject
from ntsim.abi.work_queue import EX_WORK_QUEUE, KPRIQUEUE
from ntsim.nt.events import WorkItemStarted
from ntsim.nt.ke.scheduler import ki_set_priority
from ntsim.nt.ke.wait import WAIT_ANY, header_of, ki_signal, ki_wait
from ntsim.nt.mm.frames import OutOfFrames
from ntsim.nt.ps.system_thread import ACTIVE_EX_WORKER, psp_create_system_thread
from ntsim.nt.rtl import lists
from ntsim.nt.se.subject import IMPERSONATING

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

PRIORITIES = {
    c.CriticalWorkQueue: 13,
    c.DelayedWorkQueue: 12,
    c.HyperCriticalWorkQueue: 15,
    c.NormalWorkQueue: 8,
    c.BackgroundWorkQueue: 7,
    c.RealTimeWorkQueue: 18,
    c.SuperCriticalWorkQueue: 14,
}
"""Queue type to the priority at which its items run."""

MOST_THREADS = 256
WR_QUEUE = 15
WORKER_ROUTINE = 1
"""Parameter 4 of bug check 0x1: the call was a worker routine."""

_HEADS = KPRIQUEUE.offset_of("EntryListHead")


class WorkQueue:
    """The queue, as an EX_WORK_QUEUE in nonpaged pool."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.va = nt.ex.pool.allocate(EX_WORK_QUEUE.size, "ExWq", zero=True)
        self.q: Any = EX_WORK_QUEUE.at(nt.mmu, self.va)
        self.header = header_of(nt, self.va)
        self.header._v.Type = PriQueueObject
        lists.initialize(nt.mmu, int(self.header.WaitListHead))
        lists.initialize(nt.mmu, int(self.q.WorkPriQueue.ThreadListHead))
        for priority in range(32):
            lists.initialize(nt.mmu, self.head(priority))
        self.q._v.WorkPriQueue_MaximumCount = len(nt.processors)
        self.q._v.MaxThreads = MOST_THREADS

    def head(self, priority: int) -> int:
        """The list of queued items of a priority."""
        return self.va + _HEADS + 16 * priority

    def insert(self, item: Any, priority: int) -> None:
        """Queue an item and see that a worker takes it."""
        lists.insert_tail(self.nt.mmu, self.head(priority), int(item))
        self.header._v.SignalState += 1
        ki_signal(self.nt, self.header)
        self.add_worker(priority)

    def take(self) -> tuple[Any, int]:
        """Wait for an item: the first of the highest priority, and that priority."""
        nt = self.nt
        ki_wait(nt, [self.va], WAIT_ANY, WR_QUEUE, 0, False, None)
        priority = next(p for p in range(31, -1, -1) if not lists.is_empty(nt.mmu, self.head(p)))
        item = WORK_QUEUE_ITEM.at(nt.mmu, nt.read_pointer(self.head(priority)))
        v = item._v
        if not v.List_Flink or not v.List_Blink:
            code = bugcodes.INVALID_WORK_QUEUE_ITEM
            nt.bugcheck(code, int(item), self.va, self.va, v.WorkerRoutine)
        lists.remove(nt.mmu, int(item))
        v.List_Flink = 0
        return item, priority

    def busy(self) -> int:
        """Workers inside an item."""
        counts = self.q.WorkPriQueue.CurrentCount
        return sum(counts[priority] for priority in range(32))

    def add_worker(self, priority: int) -> None:
        """Another worker if an item waits, no worker will come for it and memory allows."""
        v = self.q._v
        if not self.header._v.SignalState or v.ThreadCount > self.busy():
            return
        if v.ThreadCount >= v.MaxThreads:
            return
        nt = self.nt
        start = nt.internal_address(exp_worker_thread)
        work = lambda: exp_worker_thread(nt, self)  # noqa: E731
        try:
            thread = psp_create_system_thread(nt, nt.ps.system, work, start, priority)
        except OutOfFrames:
            return
        v.ThreadCount += 1
        nt.ps.start_thread(thread)

    def enter(self, priority: int) -> None:
        """The running worker is about to call an item's routine."""
        self.q.WorkPriQueue.CurrentCount[priority] += 1
        self.q._v.WorkItemsProcessed += 1
        self.add_worker(priority)

    def leave(self, priority: int) -> None:
        """It has come back."""
        self.q.WorkPriQueue.CurrentCount[priority] -= 1


def exp_work_queue(nt: Kernel) -> WorkQueue:
    """The machine's work queue, made when it is first needed."""
    if nt.ex.work is None:
        nt.ex.work = WorkQueue(nt)
    return nt.ex.work


def exp_worker_thread(nt: Kernel, queue: WorkQueue) -> None:
    """What a worker does, for ever."""
    thread = nt.thread
    thread.ethread._v.SameThreadPassiveFlags |= ACTIVE_EX_WORKER
    while True:
        item, priority = queue.take()
        if thread.v.Priority != priority:
            thread.v.BasePriority = priority
            ki_set_priority(nt, thread, priority)
        queue.enter(priority)
        exp_run_item(nt, int(item), item._v.WorkerRoutine, item._v.Parameter)
        queue.leave(priority)


def exp_run_item(nt: Kernel, item: int, routine: int, parameter: int) -> None:
    """Call a worker routine, which may free its item, and check what it left behind."""
    if nt.images.at(routine) is not nt.nt_image:
        nt.emit(WorkItemStarted, item, nt.describe_address(routine))
    nt.call(routine, parameter)
    irql = nt.il.current.cr8
    if irql:
        code = bugcodes.WORKER_THREAD_RETURNED_AT_BAD_IRQL
        nt.bugcheck(code, routine, irql, parameter, item)
    if nt.thread.ethread._v.CrossThreadFlags & IMPERSONATING:
        nt.bugcheck(bugcodes.IMPERSONATING_WORKER_THREAD, routine, parameter, item)
    v = nt.thread.v
    if v.CombinedApcDisable or v.ApcStateIndex:
        code = bugcodes.APC_INDEX_MISMATCH
        nt.bugcheck(code, routine, v.ApcStateIndex, v.CombinedApcDisable, WORKER_ROUTINE)
