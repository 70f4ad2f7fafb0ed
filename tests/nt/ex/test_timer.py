"""Executive timers. Source: WDK "ExXxxTimer Routines and EX_TIMER Objects"."""

from ntsim.wdm import *

MILLISECOND = 10_000


def pause(milliseconds: int) -> None:
    interval = LARGE_INTEGER()
    interval.QuadPart = -milliseconds * MILLISECOND
    KeDelayExecutionThread(KernelMode, FALSE, interval)


def test_a_timer_calls_its_routine_once_at_dispatch_level(value_of) -> None:
    def body() -> list:
        calls = []

        def routine(Timer, Context) -> None:
            calls.append((int(Timer), int(Context), KeGetCurrentIrql()))

        timer = ExAllocateTimer(routine, 0x42, EX_TIMER_NOTIFICATION)
        found = [ExSetTimer(timer, -20 * MILLISECOND, 0, NULL), ExCancelTimer(timer, NULL)]
        found += [ExCancelTimer(timer, NULL), ExSetTimer(timer, -20 * MILLISECOND, 0, NULL)]
        wait = KeWaitForSingleObject(timer, Executive, KernelMode, FALSE, NULL)
        pause(40)
        same = calls == [(timer, 0x42, DISPATCH_LEVEL)]
        return [*found, wait, same, ExDeleteTimer(timer, TRUE, TRUE, NULL)]

    assert value_of(body) == [False, True, False, False, 0, True, False]


def test_a_period_repeats_until_it_is_cancelled(value_of) -> None:
    def body() -> list:
        calls = []
        timer = ExAllocateTimer(lambda t, c: calls.append(KeQueryInterruptTime()) or 0, 0, 0)
        ExSetTimer(timer, -20 * MILLISECOND, 20 * MILLISECOND, NULL)
        pause(210)
        cancelled = ExCancelTimer(timer, NULL)
        count = len(calls)
        pause(100)
        return [cancelled, 8 <= count <= 11, len(calls) == count, ExDeleteTimer(timer, 1, 1, NULL)]

    assert value_of(body) == [True, True, True, False]


def test_deleting_can_wait_for_the_last_expiry_and_tells_when_it_is_gone(value_of) -> None:
    def body() -> list:
        calls = []
        parameters = ExAllocatePoolWithTag(NonPagedPoolNx, 24, 1)
        write_bytes(parameters, bytes(24))
        fields = cast(parameters, PULONGLONG)
        fields[1] = gone_address = KDPC()
        KeInitializeDpc(gone_address, lambda context: calls.append(("gone", int(context))), 0)
        fields[1], fields[2] = gone_address.DeferredRoutine, 7
        timer = ExAllocateTimer(lambda t, c: calls.append("expired"), 0, 0)
        ExSetTimer(timer, -20 * MILLISECOND, 0, NULL)
        cancelled = ExDeleteTimer(timer, FALSE, FALSE, parameters)
        before = calls[:]
        pause(60)
        return [cancelled, before, calls]

    assert value_of(body) == [False, [], ["expired", ("gone", 7)]]


def test_deleting_a_set_timer_with_cancel_stops_it(value_of) -> None:
    def body() -> list:
        calls = []
        timer = ExAllocateTimer(lambda t, c: calls.append(1), 0, 0)
        ExSetTimer(timer, -20 * MILLISECOND, 0, NULL)
        cancelled = ExDeleteTimer(timer, TRUE, FALSE, NULL)
        pause(60)
        return [cancelled, calls]

    assert value_of(body) == [True, []]


def test_attributes_that_exclude_each_other_give_no_timer(value_of) -> None:
    def body() -> list[int]:
        both = EX_TIMER_HIGH_RESOLUTION | EX_TIMER_NO_WAKE
        return [ExAllocateTimer(NULL, NULL, both), ExAllocateTimer(NULL, NULL, 1)]

    assert value_of(body) == [0, 0]
