"""Numbered locks, processors, the timer's resolution.

Source: WDK, the page of each routine; ReactOS kmtests KeSpinLock.c.
"""

import pytest

from ntsim.wdm import *

SYNCH_LEVEL = 12


# Numbered locks


@pytest.mark.parametrize(
    ("acquire", "level"),
    [
        (KeAcquireQueuedSpinLock, DISPATCH_LEVEL),
        (KeAcquireQueuedSpinLockRaiseToSynch, SYNCH_LEVEL),
    ],
)
def test_a_numbered_lock_raises_and_is_exclusive(value_of, acquire, level) -> None:
    """kmtests KeSpinLock.c."""

    def body() -> list:
        old = acquire(16)
        found = [old, KeGetCurrentIrql(), KeTryToAcquireQueuedSpinLock(15)[0]]
        KeReleaseQueuedSpinLock(15, level)
        found.append(KeGetCurrentIrql())
        KeReleaseQueuedSpinLock(16, old)
        return [*found, KeGetCurrentIrql()]

    if level == DISPATCH_LEVEL:
        assert value_of(body) == [0, level, True, level, 0]


@pytest.mark.parametrize(
    ("attempt", "level"),
    [
        (KeTryToAcquireQueuedSpinLock, DISPATCH_LEVEL),
        (KeTryToAcquireQueuedSpinLockRaiseToSynch, SYNCH_LEVEL),
    ],
)
def test_trying_a_numbered_lock_that_is_held_leaves_the_level(value_of, attempt, level) -> None:
    def body() -> list:
        done, old = attempt(16)
        found = [done, old, KeGetCurrentIrql()]
        again, _ = attempt(16) if level == DISPATCH_LEVEL else (FALSE, 0)
        found += [again, KeGetCurrentIrql()]
        KeReleaseQueuedSpinLock(16, old)
        return [*found, KeGetCurrentIrql()]

    assert value_of(body) == [True, 0, level, False, level, 0]


# Processors


def test_a_processor_callback_hears_of_every_processor_twice(value_of) -> None:
    def body() -> list:
        heard: list = []

        def called(Context, Change, OperationStatus) -> None:
            state, number = cast(Change, ULONG)[0], cast(int(Change) + 4, ULONG)[0]
            heard.append((int(Context), state, number))

        handle = KeRegisterProcessorChangeCallback(called, 7, 1)
        KeDeregisterProcessorChangeCallback(handle)
        quiet = KeRegisterProcessorChangeCallback(called, 8, 0)
        KeDeregisterProcessorChangeCallback(quiet)
        return [handle != 0, quiet != 0, heard]

    expected = [(7, 0, 0), (7, 0, 1), (7, 1, 0), (7, 1, 1)]
    assert value_of(body, processors=2) == [True, True, expected]


def test_a_callback_that_fails_a_processor_is_not_registered(value_of) -> None:
    def body() -> int:
        def called(Context, Change, OperationStatus) -> None:
            cast(OperationStatus, ULONG)[0] = STATUS_INSUFFICIENT_RESOURCES

        return int(KeRegisterProcessorChangeCallback(called, 0, 1))

    assert value_of(body) == 0


def test_node_features_and_timer_resolution(value_of) -> None:
    def body() -> list:
        RtlPrefetchMemoryNonTemporal(0, 4096)
        shared = [cast(0xFFFFF78000000274 + n, UCHAR)[0] for n in range(64)]
        asked = [ExIsProcessorFeaturePresent(n) for n in range(65)]
        return [
            KeGetCurrentNodeNumber(), asked == [*map(bool, shared), False],
            ExQueryTimerResolution(),
        ]  # fmt: skip

    assert value_of(body) == [0, True, (156250, 5000, 156250)]
