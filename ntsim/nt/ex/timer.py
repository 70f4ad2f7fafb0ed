"""Executive timers: ExAllocateTimer, ExSetTimer, ExCancelTimer, ExDeleteTimer.

An EX_TIMER is opaque: here a KTIMER, on which a driver may wait, and the DPC that calls the
driver's routine at DISPATCH_LEVEL and starts the next period, which counts in 100 ns units. It is
freed when nothing of it is under way any more. Source: WDK "ExXxxTimer Routines and EX_TIMER
Objects".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import wdm_constants as c
from ntsim.abi.ke import KDPC, KEVENT, KTIMER
from ntsim.abi.scalars import BOOLEAN, LONGLONG, PVOID, ULONG
from ntsim.nt.exports import export
from ntsim.nt.ke.dpc import KeInitializeDpc
from ntsim.nt.ke.objects import KeInitializeEvent, KeSetEvent
from ntsim.nt.ke.timer import KeInitializeTimerEx, ke_set_timer
from ntsim.nt.ke.wait import NOTIFICATION_EVENT, WAIT_ANY, ki_wait

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

DPC = KTIMER.size
CALLBACK = DPC + KDPC.size
CONTEXT, PERIOD, FLAGS, DELETE, DELETE_CONTEXT = range(CALLBACK + 8, CALLBACK + 48, 8)
DONE = 0xB0
SIZE = DONE + KEVENT.size
"""Offsets in the block: the DPC, the routine, its context, ..., the event of a waiting delete."""

RUNNING, DELETING, WAITED_FOR = 1, 2, 4
"""Flags: the routine runs or is queued, the timer is to go, somebody waits for that."""

DELETE_CALLBACK = 8
"""Offset in EXT_DELETE_PARAMETERS of DeleteCallback, behind which DeleteContext stands."""

ATTRIBUTES = c.EX_TIMER_HIGH_RESOLUTION | c.EX_TIMER_NO_WAKE | c.EX_TIMER_NOTIFICATION
assert c.EX_TIMER_NOTIFICATION == 1 << 31


class Timer:
    """The fields of one EX_TIMER."""

    def __init__(self, nt: Kernel, va: int) -> None:
        self.nt, self.va = nt, va
        self.k: Any = KTIMER.at(nt.mmu, va)

    def get(self, field: int) -> int:
        return self.nt.read_pointer(self.va + field)

    def put(self, field: int, value: int) -> None:
        self.nt.write_pointer(self.va + field, value)

    def change(self, add: int = 0, drop: int = 0) -> None:
        """Set and clear flags."""
        self.put(FLAGS, self.get(FLAGS) & ~drop | add)

    @property
    def pending(self) -> bool:
        """Whether it will still expire."""
        return int(self.k) in self.nt.ke.timers.live

    def stop(self) -> bool:
        """Cancel; whether it was set. A routine that is queued already still runs."""
        was_set = self.nt.ke.timers.cancel(self.k) or self.get(PERIOD) != 0
        self.put(PERIOD, 0)
        return was_set


def exp_timer_dpc(nt: Kernel, Dpc: int, DeferredContext: int, One: int, Two: int) -> None:
    """A timer has expired: the next period, the driver's routine, a delete that waited for it."""
    timer = Timer(nt, int(DeferredContext))
    period = timer.get(PERIOD)
    if period and not timer.get(FLAGS) & DELETING:
        due = timer.k._v.DueTime_QuadPart + period
        nt.ke.timers.insert(timer.k, max(due, nt.il.now), nt.il.current.number)
    timer.change(add=RUNNING)
    if callback := timer.get(CALLBACK):
        nt.call(callback, timer.va, timer.get(CONTEXT))
    timer.change(drop=RUNNING)
    flags = timer.get(FLAGS)
    if flags & WAITED_FOR:
        KeSetEvent(nt, KEVENT.at(nt.mmu, timer.va + DONE), 0, False)
    elif flags & DELETING and not timer.pending:
        exp_delete_timer(timer)


def exp_delete_timer(timer: Timer) -> None:
    """Free the timer, then tell whoever wanted to know."""
    nt = timer.nt
    routine, context = timer.get(DELETE), timer.get(DELETE_CONTEXT)
    nt.free_pool(timer.va)
    if routine:
        nt.call(routine, context)


@export(irql="<= DISPATCH")
def ExAllocateTimer(
    nt: Kernel, Callback: PVOID, CallbackContext: PVOID, Attributes: ULONG
) -> PVOID:
    """A timer that is not set, NULL if memory is short or the attributes exclude each other.

    With EX_TIMER_NOTIFICATION a notification timer, else a synchronization timer. Source: WDK.
    """
    both = c.EX_TIMER_HIGH_RESOLUTION | c.EX_TIMER_NO_WAKE
    if Attributes & ~ATTRIBUTES or Attributes & both == both:
        return 0
    va = nt.allocate_pool(SIZE, "ExTm")
    if not va:
        return 0
    nt.mmu.write(va, bytes(SIZE))
    timer = Timer(nt, va)
    KeInitializeTimerEx(nt, timer.k, 0 if Attributes & c.EX_TIMER_NOTIFICATION else 1)
    dpc = KDPC.at(nt.mmu, va + DPC)
    KeInitializeDpc(nt, dpc, nt.internal_address(exp_timer_dpc), va)
    timer.put(CALLBACK, Callback)
    timer.put(CONTEXT, CallbackContext)
    return va


@export(irql="<= DISPATCH")
def ExSetTimer(
    nt: Kernel, Timer: PVOID, DueTime: LONGLONG, Period: LONGLONG, Parameters: PVOID
) -> BOOLEAN:
    """Set the timer, anew if it is set: TRUE then. Times in 100 ns units, a negative one relative.

    Period 0 is a timer that expires once; tolerances are not used. Source: WDK ExSetTimer.
    """
    timer = ex_timer(nt, Timer)
    if timer.get(FLAGS) & DELETING:
        return False
    was_set = timer.stop()
    timer.put(PERIOD, max(Period, 0))
    ke_set_timer(nt, timer.k, DueTime, 0, timer.va + DPC)
    return was_set


@export(irql="<= DISPATCH")
def ExCancelTimer(nt: Kernel, Timer: PVOID, Parameters: PVOID) -> BOOLEAN:
    """Cancel; TRUE if the timer was set. Its routine may be running still. Source: WDK."""
    return ex_timer(nt, Timer).stop()


@export(irql="<= DISPATCH, or <= APC if Wait is TRUE")
def ExDeleteTimer(
    nt: Kernel, Timer: PVOID, Cancel: BOOLEAN, Wait: BOOLEAN, Parameters: PVOID
) -> BOOLEAN:
    """Free the timer: cancelled first with Cancel, else when it has expired; TRUE if cancelled.

    With Wait the call comes back when the routine has, and the timer is gone. Source: WDK.
    """
    timer = ex_timer(nt, Timer)
    if Parameters:
        timer.put(DELETE, nt.read_pointer(Parameters + DELETE_CALLBACK))
        timer.put(DELETE_CONTEXT, nt.read_pointer(Parameters + DELETE_CALLBACK + 8))
    cancelled = timer.stop() if Cancel else False
    timer.change(add=DELETING)
    under_way = bool(timer.get(FLAGS) & RUNNING or KDPC.at(nt.mmu, timer.va + DPC)._v.DpcData)
    if Wait and (under_way or timer.pending):
        event = KEVENT.at(nt.mmu, timer.va + DONE)
        KeInitializeEvent(nt, event, NOTIFICATION_EVENT, False)
        timer.change(add=WAITED_FOR)
        ki_wait(nt, [int(event)], WAIT_ANY, 0, 0, False, None)
        exp_delete_timer(timer)
    elif not under_way and not timer.pending:
        exp_delete_timer(timer)
    return cancelled


def ex_timer(nt: Kernel, va: int) -> Timer:
    return Timer(nt, va)
