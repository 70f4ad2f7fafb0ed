"""Timers by handle. Source: WDK ZwCreateTimer, ZwOpenTimer, ZwSetTimer, ZwCancelTimer."""

import pytest

from ntsim.wdm import *


def large(value: int):
    made = LARGE_INTEGER()
    made.QuadPart = value
    return made


def create(kind: int = NotificationTimer, name=NULL):
    return ZwCreateTimer(TIMER_ALL_ACCESS, name, kind)


def attributes(name: str):
    made = OBJECT_ATTRIBUTES()
    InitializeObjectAttributes(
        made, UNICODE_STRING(name), OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL
    )
    return made


def set_timer(handle, due: int, routine=NULL, context=NULL, period: int = 0, state=NULL) -> int:
    return ZwSetTimer(handle, large(due), routine, context, FALSE, period, state)


def wait(handle, timeout: int) -> int:
    return ZwWaitForSingleObject(handle, FALSE, large(timeout))


def test_a_timer_is_waited_for_by_handle_and_cancelled(value_of) -> None:
    def body() -> list[int]:
        _, handle = create()
        state = BOOLEAN()
        found = [set_timer(handle, -100_000, state=state), state[0], wait(handle, -1)]
        found += [wait(handle, -200_000), ZwCancelTimer(handle, state), state[0]]
        set_timer(handle, -100_000, state=state)
        found += [state[0], ZwCancelTimer(handle, state), state[0], wait(handle, -300_000)]
        return [*found, ZwClose(handle)]

    late = STATUS_TIMEOUT
    assert value_of(body) == [0, 0, late, 0, 0, 1, 1, 0, 0, late, 0]


def test_a_named_timer_is_found(value_of) -> None:
    def body() -> list:
        name = attributes("\\BaseNamedObjects\\Tick")
        _, first = create(name=name)
        status, second = ZwOpenTimer(TIMER_ALL_ACCESS, name)
        set_timer(first, -10_000)
        taken = create(name=name)[0]
        return [status, wait(second, -100_000), taken, ZwClose(first), ZwClose(second)]

    assert value_of(body) == [0, 0, STATUS_OBJECT_NAME_COLLISION, 0, 0]


def test_a_routine_runs_in_the_thread_that_set_the_timer(value_of) -> None:
    def body() -> list:
        _, handle = create(SynchronizationTimer)
        seen: list = []
        thread = KeGetCurrentThread()

        def called(TimerContext, TimerLowValue, TimerHighValue) -> None:
            same = KeGetCurrentThread() == thread
            seen.append((int(TimerContext), same, KeGetCurrentIrql(), TimerHighValue != 0))

        set_timer(handle, -10_000, called, 9, period=5)
        KeDelayExecutionThread(KernelMode, FALSE, large(-120_000))
        ZwCancelTimer(handle, NULL)
        count = len(seen)
        KeDelayExecutionThread(KernelMode, FALSE, large(-200_000))
        return [count, set(seen), len(seen)]

    assert value_of(body) == [3, {(9, True, 0, True)}, 3]


def test_closing_the_last_handle_stops_the_timer(value_of) -> None:
    def body() -> int:
        _, handle = create()
        seen: list = []
        set_timer(handle, -10_000, lambda *_: seen.append(1))
        ZwClose(handle)
        KeDelayExecutionThread(KernelMode, FALSE, large(-100_000))
        return len(seen)

    assert value_of(body) == 0


@pytest.mark.parametrize("kind", [2, -1])
def test_bad_arguments(value_of, kind: int) -> None:
    def body() -> list[int]:
        _, handle = create()
        _, event = ZwCreateEvent(EVENT_ALL_ACCESS, NULL, NotificationEvent, FALSE)
        return [
            create(kind)[0], set_timer(handle, -1, period=-1), set_timer(0x1230, -1),
            ZwCancelTimer(event, NULL),
        ]  # fmt: skip

    assert value_of(body) == [
        STATUS_INVALID_PARAMETER_4, STATUS_INVALID_PARAMETER_6, STATUS_INVALID_HANDLE,
        STATUS_OBJECT_TYPE_MISMATCH,
    ]  # fmt: skip
