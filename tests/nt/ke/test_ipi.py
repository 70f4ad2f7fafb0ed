"""KeIpiGenericCall: on every processor at the same time, at IPI_LEVEL."""

import pytest

from ntsim.wdm import *


@pytest.mark.parametrize("processors", [1, 2, 8, 64])
@pytest.mark.parametrize("seed", [0, 3])
def test_every_processor_calls_the_routine_once_at_ipi_level(
    value_of, processors: int, seed: int
) -> None:
    def body() -> tuple:
        ran = []

        def routine(Argument) -> int:
            ran.append((KeGetCurrentProcessorNumber(), KeGetCurrentIrql(), Argument))
            return 100 + KeGetCurrentProcessorNumber()

        KeSetSystemAffinityThread(1)
        result = KeIpiGenericCall(routine, 5)
        return sorted(ran), result, KeGetCurrentIrql()

    expected = [(n, IPI_LEVEL, 5) for n in range(processors)]
    assert value_of(body, processors=processors, seed=seed) == (expected, 100, 0)


def test_no_processor_returns_before_all_have_arrived(value_of) -> None:
    def body() -> list[int]:
        shared, seen = LONG(), []

        def routine(Argument) -> int:
            InterlockedIncrement(shared)
            while shared[0] < 4:
                KeStallExecutionProcessor(1)
            seen.append(shared[0])
            return 0

        KeIpiGenericCall(routine, 0)
        return seen

    assert value_of(body, processors=4, seed=9) == [4, 4, 4, 4]


def test_two_threads_that_broadcast_at_once_take_turns(value_of) -> None:
    def body() -> int:
        calls, done = [], KSEMAPHORE()
        KeInitializeSemaphore(done, 0, 4)

        def broadcast(Context) -> None:
            KeIpiGenericCall(lambda argument: calls.append(argument) or 0, Context)
            KeReleaseSemaphore(done, 0, 1, FALSE)

        for number in range(4):
            PsCreateSystemThread(0, NULL, NULL, NULL, broadcast, number)
        for _ in range(4):
            KeWaitForSingleObject(done, Executive, KernelMode, FALSE, NULL)
        return sorted(calls)

    expected = sorted([0, 1, 2, 3] * 4)
    assert value_of(body, processors=4, seed=2) == expected
