"""The dispatcher: ready queues per processor and priority, and the switch from thread to thread.

A thread becomes ready on one processor (its ideal one if idle, else an idle one its affinity
allows, else the ideal one, else the first allowed) and a dispatch interrupt makes that processor
look. An idle processor with an empty queue takes ready threads of others that it may run. Ready
queues are the lists of the KPRCB; a switch is a greenlet switch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from greenlet import getcurrent

from ntsim.abi.ke import KTHREAD
from ntsim.hw.cpu import RFLAGS_IF, Processor
from ntsim.hw.interleave import MachineGreenlet
from ntsim.nt.events import ThreadSwitched
from ntsim.nt.ke.irql import DISPATCH_LEVEL
from ntsim.nt.ke.thread import QUANTUM_TICKS, READY, RUNNING, STANDBY, TERMINATED, WAITING, Thread
from ntsim.nt.rtl import lists
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

DISPATCH_VECTOR = 0x2F
WAIT_LIST_ENTRY = KTHREAD.offset_of("WaitListEntry")


def ki_ready_thread(nt: Kernel, thread: Thread, boost: int = 0) -> None:
    """Make a thread runnable; `boost` is added to its priority, up to 15 for a dynamic one."""
    v = thread.v
    if boost and v.Priority < 16:
        v.Priority = max(v.Priority, min(v.BasePriority + boost, 15))
    target = _choose_processor(nt, thread)
    v.State = READY
    v.NextProcessor = target.number
    _enqueue(nt, thread, target)
    current = nt.ke.threads[nt.prcb[target.number]._v.CurrentThread]
    if current.v.Priority < v.Priority or current is nt.ke.idle_threads[target.number]:
        target.apic.request(DISPATCH_VECTOR)
        nt.il.take_interrupts()


def _choose_processor(nt: Kernel, thread: Thread) -> Processor:
    mask: int = thread.v.Affinity_Mask
    processors = nt.processors
    ideal: Processor = processors[thread.v.IdealProcessor]
    if mask >> ideal.number & 1 and nt.ke.is_idle(ideal):
        return ideal
    for processor in processors:
        if mask >> processor.number & 1 and nt.ke.is_idle(processor):
            return processor
    if mask >> ideal.number & 1:
        return ideal
    return next(p for p in processors if mask >> p.number & 1)


def _enqueue(nt: Kernel, thread: Thread, processor: Processor, front: bool = False) -> None:
    prcb = nt.prcb[processor.number]
    priority = thread.v.Priority
    head = nt.ke.ready_heads[processor.number] + 16 * priority
    insert = lists.insert_head if front else lists.insert_tail
    insert(nt.mmu, head, thread.va + WAIT_LIST_ENTRY)
    prcb._v.ReadySummary |= 1 << priority


def _dequeue(nt: Kernel, thread: Thread) -> None:
    """Take a ready thread out of its queue."""
    number = thread.v.NextProcessor
    entry = thread.va + WAIT_LIST_ENTRY
    if lists.remove(nt.mmu, entry):
        _refresh_summary(nt, number)


def _refresh_summary(nt: Kernel, number: int) -> None:
    heads = nt.ke.ready_heads[number]
    summary = 0
    for priority in range(32):
        if not lists.is_empty(nt.mmu, heads + 16 * priority):
            summary |= 1 << priority
    nt.prcb[number]._v.ReadySummary = summary


def _take_ready(nt: Kernel, number: int, least: int) -> Thread | None:
    """The highest-priority ready thread of a processor's queues if at least `least`."""
    v = nt.prcb[number]._v
    summary = v.ReadySummary
    priority = summary.bit_length() - 1
    if priority < least:
        return None
    head = nt.ke.ready_heads[number] + 16 * priority
    entry = lists.remove_head(nt.mmu, head)
    if lists.is_empty(nt.mmu, head):
        v.ReadySummary = summary & ~(1 << priority)
    return nt.ke.threads[entry - WAIT_LIST_ENTRY]


def _steal_ready(nt: Kernel, number: int) -> Thread | None:
    """A ready thread of another processor that this idle one may run."""
    for other in range(len(nt.processors)):
        summary = 0 if other == number else nt.prcb[other]._v.ReadySummary
        while summary:
            priority = summary.bit_length() - 1
            summary &= ~(1 << priority)
            for entry in lists.walk(nt.mmu, nt.ke.ready_heads[other] + 16 * priority):
                thread = nt.ke.threads[entry - WAIT_LIST_ENTRY]
                if thread.v.Affinity_Mask >> number & 1:
                    _dequeue(nt, thread)
                    return thread
    return None


def ki_select_next(nt: Kernel, processor: Processor) -> Thread:
    """Who runs next on a processor that has nothing to run: the idle thread if nobody is ready."""
    found = _take_ready(nt, processor.number, 0) or _steal_ready(nt, processor.number)
    return found or nt.ke.idle_threads[processor.number]


def ki_swap_thread(nt: Kernel) -> None:
    """The current thread cannot go on: run another; returns when this one is switched back in."""
    processor = nt.il.current
    _switch(nt, processor, ki_select_next(nt, processor))


def _switch(nt: Kernel, processor: Processor, new: Thread) -> None:
    old = nt.thread
    if new is old:
        old.v.State = RUNNING
        return
    here = getcurrent()
    old.greenlet = here
    old.interrupts = True
    _make_current(nt, processor, new)
    old.v.Running = 0
    assert new.greenlet is not None
    nt.il.enter(new.greenlet)
    nt.il.current.rflags |= RFLAGS_IF


def _make_current(nt: Kernel, processor: Processor, new: Thread) -> None:
    """Everything a context switch changes, short of the stack.

    A thread that another processor is leaving is still Running: below a hypervisor the load of CR3
    exits, and the handler may take long enough for that thread to be wanted elsewhere.
    """
    while new.v.Running:
        new.v.State = STANDBY
        nt.il.spin()
    new.v.Running = 1
    prcb = nt.prcb[processor.number]._v
    prcb.CurrentThread = new.va
    processor.context = new
    new.v.State = RUNNING
    new.v.NextProcessor = processor.number
    new.quantum = QUANTUM_TICKS
    processor.cr3 = nt.ke.address_space(new)
    processor.rflags |= RFLAGS_IF
    nt.off_since.pop(processor.number, None)
    nt.ke.set_stack(processor, new)
    if new.greenlet is None:
        new.greenlet = ki_start_greenlet(nt, new)
    processor.greenlet = new.greenlet
    if new is not nt.ke.idle_threads[processor.number]:
        nt.emit(ThreadSwitched, new.text)


def ki_start_greenlet(nt: Kernel, thread: Thread) -> MachineGreenlet:
    """The host stack of a thread that has not run yet."""
    made = MachineGreenlet(lambda *_: ki_thread_startup(nt, thread), parent=nt.il.hub)
    made.machine = nt
    nt.greenlets[made] = thread.text
    return made


def ki_thread_startup(nt: Kernel, thread: Thread) -> None:
    """First code on a thread's stack: drop to PASSIVE_LEVEL, run, and never come back."""
    nt.il.current.cr8 = 0
    nt.il.take_interrupts()
    assert thread.start is not None
    try:
        thread.start()
    except StructuredException as error:
        nt.unhandled(thread, error)
    ki_terminate_current(nt)


def ki_terminate_current(nt: Kernel) -> None:
    """The current thread ends: its greenlet finishes and passes control to the next thread's."""
    processor = nt.il.current
    old = nt.thread
    old.v.State = TERMINATED
    new = ki_select_next(nt, processor)
    _make_current(nt, processor, new)
    old.v.Running = 0
    here = getcurrent()
    nt.greenlets.pop(here, None)
    nt.ke.threads.pop(old.va, None)
    nt.ke.reap.append(old)
    assert new.greenlet is not None
    if new.greenlet:
        here.parent = new.greenlet
    else:
        here.parent, nt.il.begin = nt.il.hub, new.greenlet


def ki_dispatch(nt: Kernel, processor: Processor) -> None:
    """The scheduling half of a dispatch interrupt: switch if somebody better is ready."""
    prcb = nt.prcb[processor.number]._v
    current = nt.thread
    idle = nt.ke.idle_threads[processor.number]
    if current is idle or current.v.State != RUNNING:
        return
    ended = prcb.QuantumEnd
    prcb.QuantumEnd = 0
    if not current.v.Affinity_Mask >> processor.number & 1:
        ki_move_away(nt, current)
        return
    least = current.v.Priority + (0 if ended else 1)
    new = _take_ready(nt, processor.number, least)
    if new is None:
        current.quantum = QUANTUM_TICKS if ended else current.quantum
        return
    if ended and current.v.Priority > current.v.BasePriority:
        current.v.Priority -= 1
    current.v.State = READY
    current.v.NextProcessor = processor.number
    _enqueue(nt, current, processor, front=not ended)
    _switch(nt, processor, new)


def ki_move_away(nt: Kernel, thread: Thread) -> None:
    """The running thread may no longer run here: make it ready elsewhere and switch."""
    target = _choose_processor(nt, thread)
    thread.v.State = READY
    thread.v.NextProcessor = target.number
    thread.greenlet = getcurrent()
    _enqueue(nt, thread, target, front=True)
    target.apic.request(DISPATCH_VECTOR)
    ki_swap_thread(nt)


def ki_requeue(nt: Kernel, thread: Thread) -> None:
    """A ready thread's affinity or priority changed: queue it anew."""
    if thread.v.State == READY:
        _dequeue(nt, thread)
        ki_ready_thread(nt, thread)


def ki_set_priority(nt: Kernel, thread: Thread, priority: int) -> None:
    """Change a thread's current priority and let the dispatcher draw its conclusions."""
    if thread.v.State == READY:
        _dequeue(nt, thread)
        thread.v.Priority = priority
        ki_ready_thread(nt, thread)
    else:
        thread.v.Priority = priority
        if thread is nt.thread:
            nt.il.current.apic.request(DISPATCH_VECTOR)
            nt.il.take_interrupts()


def ki_idle_loop(nt: Kernel, processor: Processor) -> None:
    """What a processor does with nothing to do: retire DPCs, look for a thread, halt."""
    while True:
        nt.il.take_interrupts()
        nt.ke.retire_dpcs(processor)
        nt.ke.reap_threads()
        found = _take_ready(nt, processor.number, 0) or _steal_ready(nt, processor.number)
        if found is not None:
            nt.prcb[processor.number]._v.IdleThread = nt.ke.idle_threads[processor.number].va
            processor.cr8 = DISPATCH_LEVEL
            _switch(nt, processor, found)
            processor.cr8 = 0
        else:
            nt.il.halt()


def is_waiting(thread: Thread) -> bool:
    return bool(thread.v.State == WAITING)


assert STANDBY == 3
