"""Dispatcher objects and waits.

The wait blocks are bytes: those of the KTHREAD (or the caller's array) link the thread into the
WaitListHead of each object. Satisfying a wait changes the object as its type demands, first waiter
first. Source: WDK "Kernel Dispatcher Objects"; Windows Internals 7, part 2, chapter 8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.ke import DISPATCHER_HEADER, KMUTANT, KQUEUE, KTHREAD, KWAIT_BLOCK
from ntsim.abi.kernel_enums import PriQueueObject
from ntsim.abi.scalars import (
    BOOLEAN,
    KPROCESSOR_MODE,
    KWAIT_REASON,
    NTSTATUS,
    PVOID,
    ULONG,
    WAIT_TYPE,
)
from ntsim.hw.clock import TICK_100NS
from ntsim.nt.events import ApcsDisabled, LockAcquired, WaitEnded, WaitStarted
from ntsim.nt.exports import export
from ntsim.nt.ke.irql import APC_LEVEL, DISPATCH_LEVEL, set_irql
from ntsim.nt.ke.scheduler import ki_swap_thread
from ntsim.nt.ke.thread import WAITING, Thread
from ntsim.nt.ke.unwait import ki_activate_waiter, ki_unwait, ki_wait_blocks
from ntsim.nt.ki import frames
from ntsim.nt.rtl import lists
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.abi.ke import PKWAIT_BLOCK
    from ntsim.abi.rtl import PLARGE_INTEGER
    from ntsim.nt.kernel import Kernel

NOTIFICATION_EVENT, SYNCHRONIZATION_EVENT, MUTANT, PROCESS, QUEUE, SEMAPHORE, THREAD = range(7)
NOTIFICATION_TIMER, SYNCHRONIZATION_TIMER = 8, 9
OBJECT_NAMES = {
    0: "notification event", 1: "synchronization event", 2: "mutex", 3: "process", 4: "queue",
    5: "semaphore", 6: "thread", 8: "notification timer", 9: "synchronization timer",
    PriQueueObject: "queue",
}  # fmt: skip
WAIT_ALL, WAIT_ANY = 0, 1
DELAY_EXECUTION = 4
MUTANT_ABANDONED = 1
"""KMUTANT.MutantFlags: the owner ended without releasing it."""

THREAD_WAIT_NEXT = 1 << 2
"""KTHREAD.MiscFlags: an event was set with Wait TRUE, a wait follows; WaitIrql is its level."""

THREAD_ALERTABLE = 1 << 4
"""KTHREAD.MiscFlags: the current wait is alertable."""

MINLONG = -(1 << 31)
THREAD_WAIT_OBJECTS, MAXIMUM_WAIT_OBJECTS = 3, 64
ATTEMPTED_SWITCH_FROM_DPC = 0xB8
MAXIMUM_WAIT_OBJECTS_EXCEEDED = 0xC
STATUS_KERNEL_APC = 0x100
"""Internal: the wait was interrupted to run kernel APCs and goes on."""

_WAIT_BLOCKS = KTHREAD.offset_of("WaitBlock")
_MUTANT_ENTRY = KMUTANT.offset_of("MutantListEntry")


def header_of(nt: Kernel, address: int) -> Any:
    return DISPATCHER_HEADER.at(nt.mmu, int(address))


def ki_is_signaled(nt: Kernel, header: Any, thread: Thread) -> bool:
    """Whether a wait of `thread` on the object is satisfied now."""
    v = header._v
    if v.Type == MUTANT:
        owner = KMUTANT.at(nt.mmu, int(header))._v.OwnerThread
        return bool(v.SignalState > 0 or owner == thread.va)
    return bool(v.SignalState > 0)


def ki_satisfy(nt: Kernel, header: Any, thread: Thread) -> int:
    """What a satisfied wait does to the object; STATUS_ABANDONED for an abandoned mutex, else 0.

    A mutex that its owner holds 2**31 times raises STATUS_MUTANT_LIMIT_EXCEEDED. Source: kmtests
    KeMutex.c.
    """
    v = header._v
    kind = v.Type
    if kind in (SYNCHRONIZATION_EVENT, SYNCHRONIZATION_TIMER):
        v.SignalState = 0
    elif kind in (SEMAPHORE, PriQueueObject):
        v.SignalState -= 1
    elif kind == MUTANT:
        return _acquire_mutant(nt, header, thread)
    return 0


def _acquire_mutant(nt: Kernel, header: Any, thread: Thread) -> int:
    mutant = KMUTANT.at(nt.mmu, int(header))
    v = mutant._v
    if v.Header_SignalState == MINLONG:
        reason = f"acquiring mutex {int(mutant):#x} once more than 2**31 times"
        raise StructuredException(ntstatus.STATUS_MUTANT_LIMIT_EXCEEDED, reason=reason)
    v.Header_SignalState -= 1
    if v.Header_SignalState != 0:
        return 0
    v.OwnerThread = thread.va
    if thread is nt.thread:
        nt.emit_at(LockAcquired, "mutex", int(mutant))
    else:
        nt.emit_for(thread, LockAcquired, "mutex", int(mutant))
    if v.ApcDisable:
        thread.v.KernelApcDisable -= v.ApcDisable
        if thread is nt.thread:
            count = thread.v.KernelApcDisable
            nt.emit_at(ApcsDisabled, "kernel", count, f"acquiring mutex {int(mutant):#x}")
    lists.insert_tail(nt.mmu, int(thread.k.MutantListHead), int(mutant) + _MUTANT_ENTRY)
    if v.MutantFlags & MUTANT_ABANDONED:
        v.MutantFlags &= ~MUTANT_ABANDONED
        return ntstatus.STATUS_ABANDONED
    return 0


def ki_lock_object(nt: Kernel, address: int) -> None:
    """Look at an object as the dispatcher does, at DISPATCH_LEVEL: one that is not there is 0xA.

    Dumps of KeWaitForSingleObject and KeSetEvent with a bad object show IRQL 2 at the instruction
    that locks it.
    """
    if address >> 12 in nt.mmu.raw_pages:
        return
    processor = nt.il.current
    old = processor.cr8
    processor.cr8 = max(old, DISPATCH_LEVEL)
    nt.mmu.read(address, 1)
    processor.cr8 = old


def ki_waiter(nt: Kernel, block: Any) -> Thread | None:
    """The thread of a wait block; None if it names none, as a corrupt one may."""
    address = block._v.Thread
    thread = nt.ke.threads.get(address)
    if thread is None:
        ki_lock_object(nt, address)
    return thread


def ki_signal(nt: Kernel, header: Any, boost: int = 0) -> None:
    """The object's SignalState has risen: let waiters go, first come first served."""
    head = int(header.WaitListHead)
    for entry in lists.entries(nt.mmu, head):
        if header._v.SignalState <= 0:
            return
        block = KWAIT_BLOCK.at(nt.mmu, entry)
        if lists.read_pointer(nt.mmu, entry) == 0:
            continue
        thread = ki_waiter(nt, block)
        if thread is None:
            continue
        kind = block._v.WaitType
        if kind == WAIT_ANY:
            ki_unwait(nt, thread, block._v.WaitKey | ki_satisfy(nt, header, thread), boost)
        elif kind == WAIT_ALL and _all_signaled(nt, thread):
            for each in ki_wait_blocks(nt, thread):
                ki_satisfy(nt, header_of(nt, each._v.Object), thread)
            ki_unwait(nt, thread, ntstatus.STATUS_SUCCESS, boost)


def _all_signaled(nt: Kernel, thread: Thread) -> bool:
    headers = (header_of(nt, block._v.Object) for block in ki_wait_blocks(nt, thread))
    return all(ki_is_signaled(nt, header, thread) for header in headers)


def ki_prepare_wait(nt: Kernel, routine: str) -> None:
    """Stay at DISPATCH_LEVEL until the wait that the caller promises. Source: kmtests KeEvent.c."""
    v = nt.thread.v
    v.WaitIrql = set_irql(nt, DISPATCH_LEVEL, routine)
    v.MiscFlags |= THREAD_WAIT_NEXT


def ki_take_up_wait(nt: Kernel) -> bool:
    """The wait that was promised: at the level of before, but nothing comes in between."""
    v = nt.thread.v
    if not v.MiscFlags & THREAD_WAIT_NEXT:
        return False
    v.MiscFlags &= ~THREAD_WAIT_NEXT
    nt.il.current.cr8 = v.WaitIrql
    return True


def ki_wait(
    nt: Kernel,
    objects: list[int],
    wait_type: int,
    reason: int,
    mode: int,
    alertable: bool,
    timeout: Any,
    blocks: int = 0,
) -> int:
    """Wait for `objects` (addresses of dispatcher headers); the status of the wait.

    `timeout` is a PLARGE_INTEGER in 100 ns units, NULL for ever; `blocks` is the caller's
    wait-block array, 0 for the thread's own.
    """
    if nt.il.current.cr8 >= DISPATCH_LEVEL and ki_take_up_wait(nt):
        ended = ki_wait(nt, objects, wait_type, reason, mode, alertable, timeout, blocks)
        nt.il.take_interrupts()
        return ended
    thread = nt.thread
    nt.ki.deliver_apcs(thread)
    for address in objects:
        ki_lock_object(nt, address)
    due = ki_due_time(nt, timeout)
    while True:
        status = _try_without_waiting(nt, objects, wait_type, thread)
        if status is not None:
            return status
        if (early := nt.ki.interrupted_wait(thread, mode, alertable)) is not None:
            return early
        if due is not None and due <= nt.il.now:
            return ntstatus.STATUS_TIMEOUT
        ki_link_wait(nt, thread, objects, wait_type, blocks)
        status = ki_block(nt, thread, due, objects, mode, reason, alertable) & 0xFFFF_FFFF
        if status != STATUS_KERNEL_APC:
            nt.emit(WaitEnded, ntstatus.status_name(status))
            return status


def ki_due_time(nt: Kernel, timeout: Any) -> int | None:
    """Interrupt time at which a timeout is over; negative is relative, positive absolute."""
    if not timeout:
        return None
    value: int = timeout.QuadPart
    return nt.il.now - value if value <= 0 else value - nt.ke.boot_time


def _try_without_waiting(
    nt: Kernel, objects: list[int], wait_type: int, thread: Thread
) -> int | None:
    if not objects:
        return None
    headers = [header_of(nt, o) for o in objects]
    if wait_type == WAIT_ANY:
        for index, header in enumerate(headers):
            if ki_is_signaled(nt, header, thread):
                return index | ki_satisfy(nt, header, thread)
        return None
    if not all(ki_is_signaled(nt, header, thread) for header in headers):
        return None
    status = 0
    for header in headers:
        status = max(status, ki_satisfy(nt, header, thread))
    return status


def ki_link_wait(
    nt: Kernel, thread: Thread, objects: list[int], wait_type: int, blocks: int
) -> None:
    """Fill the wait blocks and link them into the objects' lists."""
    array = blocks or thread.va + _WAIT_BLOCKS
    thread.v.WaitBlockList = array
    thread.v.WaitBlockCount = len(objects)
    first = KWAIT_BLOCK.at(nt.mmu, array)
    for index, address in enumerate(objects):
        v = first[index]._v
        v.WaitType, v.WaitKey, v.Thread, v.Object = wait_type, index, thread.va, address
        lists.insert_tail(nt.mmu, int(header_of(nt, address).WaitListHead), int(first[index]))


def ki_block(
    nt: Kernel,
    thread: Thread,
    due: int | None,
    objects: list[int],
    mode: int,
    reason: int,
    alertable: bool,
) -> int:
    """Stop running until somebody ends the wait; KTHREAD.WaitStatus as an unsigned number."""
    processor = nt.il.current
    v = thread.v
    v.WaitMode, v.WaitReason = mode, reason
    v.WaitTime = nt.clock.now // TICK_100NS & 0xFFFF_FFFF
    v.MiscFlags = v.MiscFlags & ~THREAD_ALERTABLE | (THREAD_ALERTABLE if alertable else 0)
    if nt.prcb[processor.number]._v.DpcRoutineActive:
        idle = nt.ke.idle_threads[processor.number].va
        nt.bugcheck(ATTEMPTED_SWITCH_FROM_DPC, thread.va, idle, v.InitialStack)
    nt.emit_at(WaitStarted, ki_describe_objects(nt, objects) or "a timeout")
    v.WaitIrql = processor.cr8
    v.State = WAITING
    if v.Queue:
        ki_activate_waiter(nt, KQUEUE.at(nt.mmu, v.Queue))
    if due is not None:
        nt.ke.timers.insert_wait(thread.k.Timer, due, processor.number)
    processor.cr8 = max(processor.cr8, DISPATCH_LEVEL)
    ki_swap_thread(nt)
    processor = nt.il.current
    processor.cr8 = v.WaitIrql
    nt.il.take_interrupts()
    nt.ki.deliver_apcs(thread)
    if thread.images and thread.images[-1].unloaded:
        ki_return_to_unloaded_code(nt)
    status: int = v.WaitStatus & 0xFFFF_FFFF_FFFF_FFFF
    return status


def ki_return_to_unloaded_code(nt: Kernel) -> None:
    """The driver that waited was unloaded meanwhile: its next instruction cannot be fetched."""
    gone = next((frame for frame in frames.capture(nt) if frame.image.unloaded), None)
    if gone is not None:
        nt.mmu.fetch(gone.address)


def ki_describe_objects(nt: Kernel, objects: list[int]) -> str:
    """For people: `synchronization event 0xffff..., thread 0x...`."""
    parts = []
    for address in objects:
        name = OBJECT_NAMES.get(header_of(nt, address)._v.Type & 0x7F, "object")
        parts.append(f"{name} {address:#x}")
    return ", ".join(parts)


@export(irql="<= APC, or <= DISPATCH if Timeout points to zero", aliases=("KeWaitForMutexObject",))
def KeWaitForSingleObject(
    nt: Kernel,
    Object: PVOID,
    WaitReason: KWAIT_REASON,
    WaitMode: KPROCESSOR_MODE,
    Alertable: BOOLEAN,
    Timeout: PLARGE_INTEGER,
) -> NTSTATUS:
    """Wait until Object is signalled or Timeout (100 ns units, negative = relative) has passed.

    A nonzero wait inside a DPC stops with 0xB8; at raised IRQL elsewhere the thread blocks with the
    level raised (inferred). Source: WDK KeWaitForSingleObject; Wine ntoskrnl tests test_sync.
    """
    return ki_wait(nt, [int(Object)], WAIT_ANY, WaitReason, WaitMode, bool(Alertable), Timeout)


@export(irql="<= APC, or <= DISPATCH if Timeout points to zero")
def KeWaitForMultipleObjects(
    nt: Kernel,
    Count: ULONG,
    Object: PVOID,
    WaitType: WAIT_TYPE,
    WaitReason: KWAIT_REASON,
    WaitMode: KPROCESSOR_MODE,
    Alertable: BOOLEAN,
    Timeout: PLARGE_INTEGER,
    WaitBlockArray: PKWAIT_BLOCK,
) -> NTSTATUS:
    """Wait for all (WaitAll) or one (WaitAny: the lowest index) of Count objects.

    More than three objects need WaitBlockArray; too many stop with 0xC
    MAXIMUM_WAIT_OBJECTS_EXCEEDED. Source: WDK KeWaitForMultipleObjects.
    """
    limit = MAXIMUM_WAIT_OBJECTS if WaitBlockArray else THREAD_WAIT_OBJECTS
    if Count > limit:
        nt.bugcheck(MAXIMUM_WAIT_OBJECTS_EXCEEDED)
    addresses = [nt.read_pointer(int(Object) + 8 * i) for i in range(Count)]
    blocks = int(WaitBlockArray)
    return ki_wait(nt, addresses, WaitType, WaitReason, WaitMode, bool(Alertable), Timeout, blocks)


@export(irql="<= APC")
def KeDelayExecutionThread(
    nt: Kernel, WaitMode: KPROCESSOR_MODE, Alertable: BOOLEAN, Interval: PLARGE_INTEGER
) -> NTSTATUS:
    """Wait until Interval (100 ns units, negative = relative) is over.

    Waiting needs the dispatcher, which DISPATCH_LEVEL holds off: inside a DPC a free build stops
    with 0xB8, elsewhere the thread blocks with the level raised (inferred). Source: WDK
    KeDelayExecutionThread; Windows Internals 7, part 2, chapter 8.
    """
    status = ki_wait(nt, [], WAIT_ANY, DELAY_EXECUTION, WaitMode, bool(Alertable), Interval)
    return ntstatus.STATUS_SUCCESS if status == ntstatus.STATUS_TIMEOUT else status


assert APC_LEVEL == 1
