"""APCs and the regions that hold them off."""

import pytest

from ntsim.wdm import *

ORIGINAL = 0
"""OriginalApcEnvironment of the undocumented KAPC_ENVIRONMENT."""


def thread():
    return KeGetCurrentThread()


def counts() -> tuple[int, int]:
    return thread().KernelApcDisable, thread().SpecialApcDisable


def pause() -> None:
    interval = LARGE_INTEGER()
    interval.QuadPart = -10_000
    KeDelayExecutionThread(KernelMode, FALSE, interval)


def kernel_routine(Apc, NormalRoutine, NormalContext, SystemArgument1, SystemArgument2) -> None: ...


def test_critical_regions_nest(value_of) -> None:
    def body() -> list:
        seen = []
        for _ in range(3):
            KeEnterCriticalRegion()
            seen.append(counts())
        seen.append((KeAreApcsDisabled(), KeAreAllApcsDisabled()))
        for _ in range(3):
            KeLeaveCriticalRegion()
        return [*seen, counts(), KeAreApcsDisabled()]

    expected = [(-1, 0), (-2, 0), (-3, 0), (True, False), (0, 0), False]
    assert value_of(body) == expected


def test_guarded_regions_disable_all_apcs(value_of) -> None:
    def body() -> list:
        KeEnterGuardedRegion()
        inside = [counts(), KeAreApcsDisabled(), KeAreAllApcsDisabled()]
        KeLeaveGuardedRegion()
        return [*inside, counts(), KeAreAllApcsDisabled()]

    assert value_of(body) == [(0, -1), True, True, (0, 0), False]


@pytest.mark.parametrize("level", [APC_LEVEL, DISPATCH_LEVEL, HIGH_LEVEL])
def test_at_raised_irql_all_apcs_are_disabled_while_the_counts_stay_zero(
    value_of, level: int
) -> None:
    def body() -> list:
        KfRaiseIrql(level)
        return [counts(), KeAreApcsDisabled(), KeAreAllApcsDisabled()]

    assert value_of(body) == [(0, 0), False, True]


def apc(routine, normal=NULL, context=0):
    """A kernel APC to the current thread: special without `normal`."""
    made = cast(ExAllocatePoolWithTag(NonPagedPoolNx, KAPC.size, 1), PKAPC)
    KeInitializeApc(made, thread(), ORIGINAL, routine, NULL, normal, KernelMode, context)
    return made


def test_a_special_kernel_apc_runs_at_apc_level_at_once(value_of) -> None:
    def body() -> list:
        seen = []
        made = apc(lambda *_: seen.append(KeGetCurrentIrql()))
        return [KeInsertQueueApc(made, NULL, NULL, 0), seen, KeGetCurrentIrql()]

    assert value_of(body) == [True, [1], 0]


def test_a_normal_kernel_apc_runs_its_kernel_routine_then_the_normal_one_at_passive(
    value_of,
) -> None:
    def body() -> list:
        seen = []

        def normal(context, one, two) -> None:
            seen.append((KeGetCurrentIrql(), context, one, two))

        made = apc(lambda *_: seen.append(KeGetCurrentIrql()), normal, 5)
        KeInsertQueueApc(made, 6, 7, 0)
        return seen

    assert value_of(body) == [1, (0, 5, 6, 7)]


@pytest.mark.parametrize(
    ("enter", "leave", "special_runs"),
    [
        (KeEnterCriticalRegion, KeLeaveCriticalRegion, True),
        (KeEnterGuardedRegion, KeLeaveGuardedRegion, False),
        (lambda: KfRaiseIrql(APC_LEVEL), lambda: KeLowerIrql(PASSIVE_LEVEL), False),
    ],
    ids=["critical", "guarded", "APC_LEVEL"],
)
def test_what_a_region_holds_off_runs_when_it_is_left(
    value_of, enter, leave, special_runs: bool
) -> None:
    def body() -> list:
        seen = []
        special = apc(lambda *_: seen.append("special"))
        ordinary = apc(kernel_routine, lambda *_: seen.append("normal"))
        enter()
        KeInsertQueueApc(special, NULL, NULL, 0)
        KeInsertQueueApc(ordinary, NULL, NULL, 0)
        inside = list(seen)
        leave()
        return [inside, sorted(seen)]

    assert value_of(body) == [["special"] if special_runs else [], ["normal", "special"]]


def test_holding_a_mutex_holds_normal_apcs_off(value_of) -> None:
    def body() -> list:
        seen, mutex = [], KMUTEX()
        KeInitializeMutex(mutex, 0)
        ordinary = apc(kernel_routine, lambda *_: seen.append(1))
        KeWaitForSingleObject(mutex, Executive, KernelMode, FALSE, NULL)
        KeInsertQueueApc(ordinary, NULL, NULL, 0)
        inside = list(seen)
        KeReleaseMutex(mutex, FALSE)
        return [inside, seen]

    assert value_of(body) == [[], [1]]


def test_an_apc_reaches_a_thread_that_waits_and_the_wait_goes_on(value_of) -> None:
    def body() -> list:
        event, seen, threads = KEVENT(), [], []
        KeInitializeEvent(event, NotificationEvent, FALSE)

        def waiter(Context) -> None:
            threads.append(thread())
            status = KeWaitForSingleObject(event, Executive, KernelMode, FALSE, NULL)
            seen.append(("woken", status))

        PsCreateSystemThread(0, NULL, NULL, NULL, waiter, NULL)
        pause()
        made = cast(ExAllocatePoolWithTag(NonPagedPoolNx, KAPC.size, 1), PKAPC)
        KeInitializeApc(
            made, threads[0], ORIGINAL,
            lambda *_: seen.append(KeGetCurrentThread() == threads[0]), NULL, NULL, KernelMode, 0,
        )  # fmt: skip
        KeInsertQueueApc(made, NULL, NULL, 0)
        pause()
        KeSetEvent(event, 0, FALSE)
        pause()
        return seen

    assert value_of(body, processors=2) == [True, ("woken", 0)]


def test_an_apc_is_queued_once_and_can_be_taken_back(value_of) -> None:
    def body() -> list:
        seen = []
        made = apc(lambda *_: seen.append(1))
        KeEnterGuardedRegion()
        found = [KeInsertQueueApc(made, NULL, NULL, 0), KeInsertQueueApc(made, NULL, NULL, 0)]
        found += [KeRemoveQueueApc(made), KeRemoveQueueApc(made)]
        KeLeaveGuardedRegion()
        return [*found, seen]

    assert value_of(body) == [True, False, True, False, []]


def test_an_apc_to_a_thread_that_has_ended_is_refused(value_of) -> None:
    def body() -> bool:
        threads = []
        PsCreateSystemThread(0, NULL, NULL, NULL, lambda c: threads.append(thread()), NULL)
        pause()
        made = cast(ExAllocatePoolWithTag(NonPagedPoolNx, KAPC.size, 1), PKAPC)
        KeInitializeApc(made, threads[0], ORIGINAL, kernel_routine, NULL, NULL, KernelMode, 0)
        return KeInsertQueueApc(made, NULL, NULL, 0)

    assert value_of(body) is False
