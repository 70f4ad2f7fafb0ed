"""Timers: queued by due time, expired by the clock interrupt of the processor that set them.

A timer is linked into the timer table of its processor's KPRCB (bytes); beside it stands a heap of
due times, written and dropped by the same two functions, so that the next expiry is found without a
search. Source: WDK "Timer Objects and DPCs"; Windows Internals 7, part 2, chapter 8, "Timer
processing".
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.ke import KPRCB, KTHREAD, KTIMER, KTIMER_TABLE
from ntsim.abi.scalars import BOOLEAN, LONG, TIMER_TYPE, ULONG, ULONGLONG
from ntsim.nt.events import TimerExpired
from ntsim.nt.exports import export
from ntsim.nt.ke.dpc import ki_insert_dpc
from ntsim.nt.ke.thread import WAITING
from ntsim.nt.ke.unwait import ki_unwait
from ntsim.nt.ke.wait import NOTIFICATION_TIMER, ki_lock_object, ki_signal
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.abi.ke import PKDPC, PKTIMER
    from ntsim.abi.rtl import LARGE_INTEGER, PLARGE_INTEGER
    from ntsim.nt.kernel import Kernel

INSERTED = 1 << 6
"""Bit of DISPATCHER_HEADER.TimerMiscFlags."""

_ENTRY = KTIMER.offset_of("TimerListEntry")
_TABLE = KPRCB.offset_of("TimerTable") + KTIMER_TABLE.offset_of("TimerEntries")
_THREAD_TIMER = KTHREAD.offset_of("Timer")
_TABLE_ENTRY_SIZE, _HANDS = 0x20, 256


class Timers:
    """The pending timers of one machine."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.heap: list[tuple[int, int, int, int]] = []
        self.live: dict[int, tuple[int, int, int, int]] = {}
        self.sequence = 0

    def initialize_tables(self) -> None:
        """Empty lists in every KPRCB's timer table."""
        for prcb in self.nt.prcb:
            for hand in range(_HANDS * 2):
                lists.initialize(self.nt.mmu, int(prcb) + _TABLE + hand * _TABLE_ENTRY_SIZE + 8)

    def insert(self, timer: Any, due: int, processor: int) -> None:
        """Queue `timer` for interrupt time `due` (100 ns) on a processor."""
        v = timer._v
        v.DueTime_QuadPart = due
        v.Processor = processor
        v.Header_TimerMiscFlags |= INSERTED
        hand = due >> 18 & 0xFF
        head = int(self.nt.prcb[processor]) + _TABLE + hand * _TABLE_ENTRY_SIZE + 8
        lists.insert_tail(self.nt.mmu, head, int(timer) + _ENTRY)
        self.sequence += 1
        item = (due, self.sequence, int(timer), processor)
        self.live[int(timer)] = item
        heapq.heappush(self.heap, item)

    def insert_wait(self, timer: Any, due: int, processor: int) -> None:
        """The timeout of a wait: a thread's own timer."""
        v = timer._v
        v.Header_Type = NOTIFICATION_TIMER
        v.Header_SignalState = 0
        v.Period = 0
        self.insert(timer, due, processor)

    def cancel(self, timer: Any) -> bool:
        """Take `timer` out if it is pending; whether it was."""
        item = self.live.pop(int(timer), None)
        if item is None:
            return False
        timer._v.Header_TimerMiscFlags &= ~INSERTED
        lists.remove(self.nt.mmu, int(timer) + _ENTRY)
        if len(self.heap) > 64 and len(self.heap) > 4 * len(self.live):
            self.heap = sorted(self.live.values())
        return True

    def _first(self) -> tuple[int, int, int, int] | None:
        """The earliest pending timer: (due, sequence, address, processor)."""
        heap = self.heap
        while heap and self.live.get(heap[0][2]) is not heap[0]:
            heapq.heappop(heap)
        return heap[0] if heap else None

    def next_due(self, able: Callable[[int], bool]) -> tuple[int, int] | None:
        """(interrupt time, processor) of the earliest timer of an `able` processor."""
        item = self._first()
        if item is not None and not able(item[3]):
            item = min((each for each in self.live.values() if able(each[3])), default=None)
        return None if item is None else (item[0], item[3])

    def processors_due(self, now: int) -> list[int]:
        """Processors with a timer that should have expired."""
        first = self._first()
        if first is None or first[0] > now:
            return []
        return sorted({item[3] for item in self.live.values() if item[0] <= now})

    def expire(self, processor: int, now: int) -> None:
        """The clock interrupt of a processor: everything of its own that is due."""
        late = []
        while (item := self._first()) is not None and item[0] <= now:
            heapq.heappop(self.heap)
            if item[3] != processor:
                late.append(item)
                continue
            self._expire_one(KTIMER.at(self.nt.mmu, item[2]), item[0], processor)
        for item in late:
            heapq.heappush(self.heap, item)

    def _expire_one(self, timer: Any, due: int, processor: int) -> None:
        nt = self.nt
        del self.live[int(timer)]
        lists.remove(nt.mmu, int(timer) + _ENTRY)
        v = timer._v
        v.Header_TimerMiscFlags &= ~INSERTED
        nt.il.progress += 1
        thread = nt.ke.threads.get(int(timer) - _THREAD_TIMER)
        if thread is not None:
            if thread.v.State == WAITING:
                ki_unwait(nt, thread, ntstatus.STATUS_TIMEOUT)
            return
        nt.emit(TimerExpired, int(timer))
        v.Header_SignalState = 1
        if v.Period:
            self.insert(timer, due + v.Period * 10_000, processor)
        dpc = timer.Dpc
        ki_signal(nt, timer.Header)
        if dpc:
            low, high = nt.ke.system_time & 0xFFFFFFFF, nt.ke.system_time >> 32
            ki_insert_dpc(nt, dpc, low, high)


def ke_set_timer(nt: Kernel, timer: PKTIMER, due_time: int, period_ms: int, dpc: int) -> bool:
    """Arm a timer; `due_time` as in KeSetTimer. Whether it was armed already."""
    ki_lock_object(nt, timer)
    was_set = nt.ke.timers.cancel(timer)
    v = timer._v
    v.Header_SignalState = 0
    v.Period = period_ms
    v.Dpc = int(dpc)
    now = nt.il.now
    due = now - due_time if due_time < 0 else due_time - nt.ke.boot_time
    nt.ke.timers.insert(timer, max(due, now), nt.il.current.number)
    return was_set


@export(irql="<= DISPATCH")
def KeInitializeTimer(nt: Kernel, Timer: PKTIMER) -> None:
    """A notification timer. Source: WDK KeInitializeTimer."""
    KeInitializeTimerEx(nt, Timer, 0)


@export(irql="<= DISPATCH")
def KeInitializeTimerEx(nt: Kernel, Timer: PKTIMER, Type: TIMER_TYPE) -> None:
    """A notification (0) or synchronization (1) timer, not set.

    One that is set stays so, with its DPC: only the header and the times are written. Source: WDK
    KeInitializeTimerEx; Wine ntoskrnl tests test_sync.
    """
    v = Timer._v
    v.Header_Lock = 0
    v.Header_Type = NOTIFICATION_TIMER + Type
    v.Header_SignalState = 0
    lists.initialize(nt.mmu, int(Timer.Header.WaitListHead))
    v.DueTime_QuadPart = v.Period = 0


@export(irql="<= DISPATCH")
def KeSetTimer(nt: Kernel, Timer: PKTIMER, DueTime: LARGE_INTEGER, Dpc: PKDPC) -> BOOLEAN:
    """Set a one-shot timer; TRUE if it was set already. Source: WDK KeSetTimer."""
    return ke_set_timer(nt, Timer, nt.quad_part(DueTime), 0, Dpc)


@export(irql="<= DISPATCH")
def KeSetTimerEx(
    nt: Kernel, Timer: PKTIMER, DueTime: LARGE_INTEGER, Period: LONG, Dpc: PKDPC
) -> BOOLEAN:
    """Set a timer that repeats every Period milliseconds (0: once). Source: WDK KeSetTimerEx."""
    return ke_set_timer(nt, Timer, nt.quad_part(DueTime), Period, Dpc)


@export(irql="<= DISPATCH")
def KeSetCoalescableTimer(
    nt: Kernel,
    Timer: PKTIMER,
    DueTime: LARGE_INTEGER,
    Period: ULONG,
    TolerableDelay: ULONG,
    Dpc: PKDPC,
) -> BOOLEAN:
    """As KeSetTimerEx; the tolerance is not used. Source: WDK KeSetCoalescableTimer."""
    return ke_set_timer(nt, Timer, nt.quad_part(DueTime), Period, Dpc)


@export(irql="<= DISPATCH")
def KeCancelTimer(nt: Kernel, Timer: PKTIMER) -> BOOLEAN:
    """Cancel; TRUE if it was set. A DPC already queued stays queued. Source: WDK KeCancelTimer."""
    ki_lock_object(nt, Timer)
    return nt.ke.timers.cancel(Timer)


@export(irql="<= DISPATCH")
def KeReadStateTimer(nt: Kernel, Timer: PKTIMER) -> BOOLEAN:
    """TRUE if signalled. Source: WDK KeReadStateTimer."""
    return bool(Timer._v.Header_SignalState)


@export(irql="any")
def KeQueryInterruptTime(nt: Kernel) -> ULONGLONG:
    """100 ns units since boot, as of the last tick or better. Source: WDK KeQueryInterruptTime."""
    return nt.il.now


@export(irql="any", aliases=("KeQuerySystemTimePrecise",))
def KeQuerySystemTime(nt: Kernel, CurrentTime: PLARGE_INTEGER) -> None:
    """100 ns units since 1601. Source: WDK KeQuerySystemTime."""
    CurrentTime.QuadPart = nt.ke.system_time


@export(irql="any")
def KeQueryTickCount(nt: Kernel, CurrentCount: PLARGE_INTEGER) -> None:
    """Clock interrupts since boot. Source: WDK KeQueryTickCount."""
    CurrentCount.QuadPart = nt.il.now // 156_250


@export(irql="any")
def KeQueryTimeIncrement(nt: Kernel) -> ULONG:
    """100 ns units a tick: 156250. Source: WDK KeQueryTimeIncrement."""
    return 156_250


@export(irql="any")
def KeStallExecutionProcessor(nt: Kernel, MicroSeconds: ULONG) -> None:
    """Spin for MicroSeconds of virtual time. Source: WDK KeStallExecutionProcessor."""
    end = nt.il.now + MicroSeconds * 10
    while (left := end - nt.il.now) > 0:
        nt.il.stall(left)
