"""Facts of DPCs, of calls on all processors, and of timers."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, WINE, Facts, as_tests, large, pause, poll, raised, wait

DPC = Facts(f"{KMTESTS}/ntos_ke/KeDpc.c")
GENERIC = Facts(f"{WINE}/driver.c test_dpc")
TIMER = Facts(f"{KMTESTS}/ntos_ke/KeTimer.c")
SYNC = Facts(f"{WINE}/driver.c test_sync")
FILL = 0x5555555555555555


def new_dpc(routine: Any, context: Any = NULL) -> Any:
    dpc = KDPC()
    RtlFillMemory(dpc, sizeof(KDPC), 0x55)
    KeInitializeDpc(dpc, routine, context)
    return dpc


@DPC.fact([0x13, MediumImportance, 0, 0, FILL, FILL, 0x1234])
def KeInitializeDpc_leaves_the_arguments_as_they_are() -> list[int]:
    dpc = new_dpc(lambda *_: None, 0x1234)
    found = [dpc.Type, dpc.Importance, dpc.Number, int(dpc.DpcData)]
    return [*found, int(dpc.SystemArgument1), int(dpc.SystemArgument2), int(dpc.DeferredContext)]


@DPC.fact([(2, True, 0xABC123, 0x5678, 0, 0x13, MediumImportance, 0, True), 2])
def a_dpc_routine_runs_at_dispatch_with_its_arguments_and_may_queue_its_dpc_again() -> list[Any]:
    found = []

    def routine(Dpc: Any, Context: Any, One: Any, Two: Any) -> None:
        seen = [KeGetCurrentIrql(), int(Context) == 0x77, int(One), int(Two), int(Dpc.DpcData)]
        seen += [Dpc.Type, Dpc.Importance, Dpc.Number]
        found.append((*seen, not found and bool(KeInsertQueueDpc(Dpc, NULL, NULL))))

    KeInsertQueueDpc(new_dpc(routine, 0x77), 0xABC123, 0x5678)
    return [found[0], len(found)]


@DPC.fact([(True, n) for n in range(1, 6)])
def below_dispatch_level_a_dpc_has_run_when_KeInsertQueueDpc_returns() -> list[Any]:
    ran: list[int] = []
    dpc = new_dpc(lambda *_: ran.append(1))
    return [(bool(KeInsertQueueDpc(dpc, NULL, NULL)), len(ran)) for _ in range(5)]


@DPC.fact([(True, False, 0, 0, 1, [(0xABC123, 0x5678)])] * 3)
def at_dispatch_level_it_waits_and_a_second_insertion_changes_nothing() -> list[Any]:
    found = []
    KeRaiseIrql(APC_LEVEL)
    for _ in range(3):
        ran: list[Any] = []
        dpc = new_dpc(lambda d, c, one, two, ran=ran: ran.append((int(one), int(two))))
        old = KeRaiseIrql(DISPATCH_LEVEL)
        inserted = bool(KeInsertQueueDpc(dpc, 0xABC123, 0x5678))
        again = bool(KeInsertQueueDpc(dpc, 0xDEF, 0x123))
        queued = len(ran)
        KeLowerIrql(KeRaiseIrql(HIGH_LEVEL))
        still = len(ran)
        KeLowerIrql(old)
        found.append((inserted, again, queued, still, len(ran), ran))
    return found


@DPC.fact([False, True, True, False, 0])
def a_removed_dpc_does_not_run() -> list[Any]:
    ran: list[int] = []
    dpc = new_dpc(lambda *_: ran.append(1))
    KeRaiseIrql(DISPATCH_LEVEL)
    found = [bool(KeRemoveQueueDpc(dpc)), bool(KeInsertQueueDpc(dpc, NULL, NULL))]
    KeLowerIrql(KeRaiseIrql(HIGH_LEVEL))
    found += [bool(KeRemoveQueueDpc(dpc)), bool(KeRemoveQueueDpc(dpc))]
    KeLowerIrql(PASSIVE_LEVEL)
    return [*found, len(ran)]


@DPC.fact([True, True])
def a_dpc_without_routine_can_be_queued_and_removed_at_high_level() -> list[bool]:
    dpc = new_dpc(NULL)
    KeRaiseIrql(HIGH_LEVEL)
    return [bool(KeInsertQueueDpc(dpc, NULL, NULL)), bool(KeRemoveQueueDpc(dpc))]


@DPC.fact(0xC0000005)
def KeInitializeDpc_of_NULL_raises_an_access_violation() -> int:
    return raised(lambda: KeInitializeDpc(NULL, NULL, NULL))


# KeGenericCallDpc


@GENERIC.fact(lambda n: [n, 2, [(n, n), (0x80000000 | n, n), (n, n)], n], {"processors": 4}, n=[4])
def a_generic_call_counts_its_processors_in_its_arguments(n: int) -> list[Any]:
    first: dict[str, Any] = {}
    calls: list[int] = []
    selected: list[int] = []

    def routine(Dpc: Any, Context: Any, Count: Any, Barrier: Any) -> None:
        count, barrier = cast(Count, PULONG), cast(Barrier, PULONG)
        calls.append(1)
        first.setdefault("start", (barrier[0], barrier[1]))
        if KeSignalCallDpcSynchronize(Barrier):
            selected.append(1)
        first.setdefault("middle", (barrier[0], barrier[1]))
        first["count"] = max(first.get("count", 0), count[0])
        if KeSignalCallDpcSynchronize(Barrier):
            selected.append(1)
        KeSignalCallDpcSynchronize(Barrier)
        KeSignalCallDpcSynchronize(Barrier)
        first.setdefault("end", (barrier[0], barrier[1]))
        KeSignalCallDpcDone(Count)

    KeGenericCallDpc(routine, NULL)
    barriers = [first[key] for key in ("start", "middle", "end")]
    return [len(calls), len(selected), barriers, first["count"]]


# Timers


@TIMER.fact(
    lambda kind, level: [8 + kind, 0, True, 0, level],
    kind=[NotificationTimer, SynchronizationTimer], level=[0, 1, 2, 15],
)  # fmt: skip
def an_initialized_timer_is_not_signalled_and_nobody_waits(kind: int, level: int) -> list[Any]:
    KeRaiseIrql(level)
    timer = KTIMER()
    RtlFillMemory(timer, sizeof(KTIMER), 0x55)
    KeInitializeTimerEx(timer, kind)
    head = timer.Header.WaitListHead
    empty = head.Flink == head.Blink == head
    state = int(KeReadStateTimer(timer))
    return [timer.Header.Type, timer.Header.SignalState, empty, state, KeGetCurrentIrql()]


def new_timer(kind: int) -> Any:
    timer = KTIMER()
    KeInitializeTimerEx(timer, kind)
    return timer


DUE = -200_000
LATER = -400_000


@SYNC.fact([STATUS_TIMEOUT, 0, 0])
def a_notification_timer_stays_signalled() -> list[int]:
    timer = new_timer(NotificationTimer)
    KeSetTimerEx(timer, large(DUE), 0, NULL)
    return [poll(timer), wait(timer, large(LATER)), poll(timer)]


@SYNC.fact([STATUS_TIMEOUT, 0, 0, 1, STATUS_TIMEOUT])
def a_synchronization_timer_is_consumed_and_runs_its_dpc() -> list[int]:
    timer, ran = new_timer(SynchronizationTimer), []
    dpc = new_dpc(lambda *_: ran.append(1))
    KeSetTimerEx(timer, large(DUE), 0, dpc)
    found = [poll(timer), len(ran), wait(timer, large(LATER))]
    pause()
    return [*found, len(ran), wait(timer, large(LATER))]


@SYNC.fact([STATUS_TIMEOUT, 0, STATUS_TIMEOUT, 0, 0])
def a_periodic_timer_is_signalled_again_and_again() -> list[int]:
    timer = new_timer(SynchronizationTimer)
    KeSetTimerEx(timer, large(DUE), 20, NULL)
    found = [poll(timer), wait(timer, large(LATER)), poll(timer)]
    found += [wait(timer, large(LATER)), wait(timer, large(LATER))]
    KeCancelTimer(timer)
    return found


@SYNC.fact([STATUS_TIMEOUT, STATUS_TIMEOUT, 0])
def a_cancelled_timer_does_nothing() -> list[int]:
    timer, ran = new_timer(SynchronizationTimer), []
    dpc = new_dpc(lambda *_: ran.append(1))
    KeSetTimerEx(timer, large(DUE), 0, dpc)
    found = [poll(timer)]
    KeCancelTimer(timer)
    return [*found, wait(timer, large(LATER)), len(ran)]


@SYNC.fact([STATUS_TIMEOUT, 0, STATUS_TIMEOUT, STATUS_TIMEOUT, STATUS_TIMEOUT])
def setting_a_periodic_timer_again_without_period_makes_it_expire_once() -> list[int]:
    timer = new_timer(SynchronizationTimer)
    KeSetTimerEx(timer, large(DUE), 20, NULL)
    KeSetTimerEx(timer, large(DUE), 0, NULL)
    found = [poll(timer), wait(timer, large(LATER)), poll(timer)]
    return [*found, wait(timer, large(LATER)), wait(timer, large(LATER))]


@SYNC.fact([0, 1, STATUS_TIMEOUT, 0, 2])
def a_timer_initialized_while_it_is_set_still_expires_with_its_dpc() -> list[int]:
    timer, ran = new_timer(SynchronizationTimer), []
    dpc = new_dpc(lambda *_: ran.append(1))
    KeSetTimerEx(timer, large(DUE), 0, dpc)
    KeInitializeTimerEx(timer, SynchronizationTimer)
    found = [wait(timer, large(LATER))]
    pause()
    found += [len(ran), poll(timer)]
    KeSetTimerEx(timer, large(DUE), 0, dpc)
    found.append(wait(timer, large(LATER)))
    pause()
    return [*found, len(ran)]


test_fact = as_tests(DPC, GENERIC, TIMER, SYNC)
