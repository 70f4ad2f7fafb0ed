"""Timers: when they expire, what a wait on one does, and the DPC they queue."""

import pytest

from ntsim.wdm import *

MILLISECOND = 10_000


def large(value: int):
    """A LARGE_INTEGER variable, in 100 ns units."""
    made = LARGE_INTEGER()
    made.QuadPart = value
    return made


def wait(timer, timeout=NULL) -> int:
    return KeWaitForSingleObject(timer, Executive, KernelMode, FALSE, timeout)


def elapsed(work) -> int:
    """Virtual time that `work` takes, in 100 ns units."""
    before = KeQueryInterruptTime()
    work()
    return KeQueryInterruptTime() - before


@pytest.mark.parametrize("due", [1, MILLISECOND, 1000 * MILLISECOND, 3600 * 1000 * MILLISECOND])
def test_a_relative_timer_expires_after_its_time(value_of, due: int) -> None:
    def body() -> int:
        timer = KTIMER()
        KeInitializeTimer(timer)
        KeSetTimer(timer, large(-due), NULL)
        return elapsed(lambda: wait(timer))

    late = value_of(body) - due
    assert 0 <= late < 100


def test_an_absolute_timer_expires_at_its_system_time(value_of) -> None:
    def body() -> int:
        timer, now = KTIMER(), LARGE_INTEGER()
        KeInitializeTimer(timer)
        KeQuerySystemTime(now)
        KeSetTimer(timer, large(now.QuadPart + 5 * MILLISECOND), NULL)
        return elapsed(lambda: wait(timer))

    assert abs(value_of(body) - 5 * MILLISECOND) < 100


def test_a_due_time_in_the_past_expires_at_once(value_of) -> None:
    def body() -> int:
        timer = KTIMER()
        KeInitializeTimer(timer)
        KeSetTimer(timer, large(1), NULL)
        return elapsed(lambda: wait(timer))

    assert value_of(body) < 20 * MILLISECOND


def test_a_notification_timer_stays_signalled_and_a_synchronization_timer_does_not(
    value_of,
) -> None:
    def body(kind: int) -> list[int]:
        timer = KTIMER()
        KeInitializeTimerEx(timer, kind)
        KeSetTimer(timer, large(-MILLISECOND), NULL)
        return [wait(timer), KeReadStateTimer(timer), wait(timer, large(0))]

    def both() -> list:
        return [body(NotificationTimer), body(SynchronizationTimer)]

    assert value_of(both) == [[0, True, STATUS_SUCCESS], [0, False, STATUS_TIMEOUT]]


def test_a_periodic_timer_signals_each_period(value_of) -> None:
    def body() -> list[int]:
        timer = KTIMER()
        KeInitializeTimerEx(timer, SynchronizationTimer)
        KeSetTimerEx(timer, large(-10 * MILLISECOND), 20, NULL)
        gaps = [elapsed(lambda: wait(timer)) for _ in range(4)]
        return [round(gap / MILLISECOND) for gap in gaps] + [KeCancelTimer(timer)]

    assert value_of(body) == [10, 20, 20, 20, True]


def test_a_cancelled_timer_does_not_expire(value_of) -> None:
    def body() -> list[int]:
        timer = KTIMER()
        KeInitializeTimer(timer)
        set_before = KeSetTimer(timer, large(-MILLISECOND), NULL)
        again = KeSetTimer(timer, large(-2 * MILLISECOND), NULL)
        cancelled = [KeCancelTimer(timer), KeCancelTimer(timer)]
        return [set_before, again, *cancelled, wait(timer, large(-10 * MILLISECOND))]

    assert value_of(body) == [False, True, True, False, STATUS_TIMEOUT]


def test_a_timers_dpc_runs_as_well_as_the_signal(value_of) -> None:
    def body() -> list:
        timer, dpc, seen = KTIMER(), KDPC(), []
        KeInitializeTimer(timer)
        KeInitializeDpc(dpc, lambda d, c, a, b: seen.append((c, KeGetCurrentIrql())), 9)
        KeSetTimer(timer, large(-MILLISECOND), dpc)
        return [wait(timer), wait(timer), seen]

    assert value_of(body, processors=1) == [0, 0, [(9, 2)]]


def test_timers_expire_in_the_order_of_their_due_times(value_of) -> None:
    def body() -> list[int]:
        seen = []
        due = [5, 3, 8, 1, 9, 2]
        timers = [(KTIMER(), KDPC(), n) for n in due]
        for timer, dpc, n in timers:
            KeInitializeTimer(timer)
            KeInitializeDpc(dpc, lambda d, c, a, b: seen.append(c), n)
            KeSetTimer(timer, large(-n * MILLISECOND), dpc)
        KeDelayExecutionThread(KernelMode, FALSE, large(-20 * MILLISECOND))
        return seen

    assert value_of(body, processors=2) == [1, 2, 3, 5, 8, 9]


def test_a_timer_set_on_one_processor_expires_there(value_of) -> None:
    def body() -> int:
        timer, dpc, seen = KTIMER(), KDPC(), []
        KeInitializeTimer(timer)
        KeInitializeDpc(dpc, lambda *_: seen.append(KeGetCurrentProcessorNumber()), NULL)
        KeSetSystemAffinityThread(1 << 3)
        KeSetTimer(timer, large(-MILLISECOND), dpc)
        KeSetSystemAffinityThread(1)
        KeDelayExecutionThread(KernelMode, FALSE, large(-5 * MILLISECOND))
        return seen

    assert value_of(body, processors=4) == [3]


def test_a_timer_does_not_expire_while_its_processor_is_at_dispatch_level(value_of) -> None:
    """Timers expire in the dispatch interrupt, which DISPATCH_LEVEL holds off."""

    def body() -> list[bool]:
        timer = KTIMER()
        KeInitializeTimer(timer)
        KeSetTimer(timer, large(-20 * MILLISECOND), NULL)
        old = KeRaiseIrqlToDpcLevel()
        KeStallExecutionProcessor(50_000)
        held_off = KeReadStateTimer(timer)
        KeLowerIrql(old)
        return [held_off, KeReadStateTimer(timer)]

    assert value_of(body, processors=2) == [False, True]


def test_a_thousand_timers_all_expire(value_of) -> None:
    def body() -> int:
        seen = []
        timers = cast(ExAllocatePoolWithTag(NonPagedPoolNx, 1000 * KTIMER.size, 1), PKTIMER)
        dpcs = cast(ExAllocatePoolWithTag(NonPagedPoolNx, 1000 * KDPC.size, 1), PKDPC)
        for i in range(1000):
            KeInitializeTimer(timers[i])
            KeInitializeDpc(dpcs[i], lambda d, c, a, b: seen.append(c), i)
            KeSetTimer(timers[i], large(-(i * 7919 % 1000) * MILLISECOND), dpcs[i])
        KeDelayExecutionThread(KernelMode, FALSE, large(-2000 * MILLISECOND))
        return len(set(seen))

    assert value_of(body, processors=2, record=False) == 1000


def test_a_timer_freed_while_it_is_set_is_found_corrupt_when_its_neighbour_goes(
    bugcheck_of,
) -> None:
    """The freed block is reused and overwritten: the links do not point back, 0x139/3."""

    def body() -> None:
        memory = ExAllocatePoolWithTag(NonPagedPoolNx, KTIMER.size, 1)
        timer = cast(memory, PKTIMER)
        KeInitializeTimer(timer)
        KeSetTimer(timer, large(-MILLISECOND), NULL)
        ExFreePoolWithTag(memory, 1)
        again = ExAllocatePoolWithTag(NonPagedPoolNx, KTIMER.size, 2)
        assert again == memory
        RtlFillMemory(again, KTIMER.size, 0)
        write_bytes(again + KTIMER.offset_of("TimerListEntry"), (again.to_bytes(8, "little")) * 2)
        KeDelayExecutionThread(KernelMode, FALSE, large(-5 * MILLISECOND))

    stop = bugcheck_of(body, processors=1)
    assert (stop.code, stop.parameters[0]) == (0x139, 3)


def test_stalling_takes_its_time_without_giving_up_the_level(value_of) -> None:
    def body() -> list[int]:
        KeRaiseIrqlToDpcLevel()
        return [elapsed(lambda: KeStallExecutionProcessor(50)) // 10, KeGetCurrentIrql()]

    microseconds, irql = value_of(body)
    assert 50 <= microseconds < 60
    assert irql == 2


def test_time_is_told_consistently(value_of) -> None:
    def body() -> list[int]:
        system, ticks = LARGE_INTEGER(), LARGE_INTEGER()
        KeDelayExecutionThread(KernelMode, FALSE, large(-1000 * MILLISECOND))
        KeQuerySystemTime(system)
        KeQueryTickCount(ticks)
        return [
            KeQueryInterruptTime() // MILLISECOND,
            ticks.QuadPart,
            KeQueryTimeIncrement(),
            (system.QuadPart - 132_512_544_000_000_000) // MILLISECOND,
        ]

    assert value_of(body) == [1000, 64, 156_250, 1000]
