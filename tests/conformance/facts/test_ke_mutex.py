"""Facts of mutants, mutexes, guarded mutexes and semaphores."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, WINE, Facts, as_tests, large, pause, poll, raised, start, wait

MUTEX = Facts(f"{KMTESTS}/ntos_ke/KeMutex.c")
GUARDED = Facts(f"{KMTESTS}/ntos_ke/KeGuardedMutex.c")
SYNC = Facts(f"{WINE}/driver.c test_sync")
MINLONG = -(1 << 31)
KINDS = ["mutant", "mutex"]


def new(kind: str, owned: int = FALSE) -> Any:
    made = KMUTANT()
    RtlFillMemory(made, sizeof(KMUTANT), 0x55)
    if kind == "mutant":
        KeInitializeMutant(made, owned)
    else:
        KeInitializeMutex(made, 123)
    return made


def release(kind: str, mutex: Any) -> int:
    if kind == "mutant":
        return KeReleaseMutant(mutex, 1, FALSE, FALSE)
    return KeReleaseMutex(mutex, FALSE)


def state(mutex: Any) -> list[int]:
    """Signal state, whether the current thread owns it, its APC count of the thread."""
    thread = KeGetCurrentThread()
    owner = int(mutex.OwnerThread)
    assert owner in (0, int(thread))
    return [mutex.Header.SignalState, int(owner != 0), thread.KernelApcDisable]


def listed(mutex: Any) -> bool:
    """Whether the mutex is the only one in the list of the current thread."""
    head, entry = KeGetCurrentThread().MutantListHead, mutex.MutantListEntry
    return head.Flink == entry and head.Blink == entry and entry.Flink == entry.Blink == head


@MUTEX.fact(lambda kind: [2, 0xE, True, 1, 0, 0, int(kind == "mutex")], kind=KINDS)
def a_new_one_is_free_and_only_the_kernels_disables_apcs(kind: str) -> list[Any]:
    mutex = new(kind)
    head = mutex.Header.WaitListHead
    found = [mutex.Header.Type, mutex.Header.Size, head.Flink == head.Blink == head]
    return [*found, mutex.Header.SignalState, int(mutex.OwnerThread), mutex.MutantFlags,
            mutex.ApcDisable]  # fmt: skip


@MUTEX.fact([[0, 1, 0], True, 0, [1, 0, 0], False])
def a_mutant_may_be_owned_from_the_start() -> list[Any]:
    mutant = new("mutant", TRUE)
    found = [state(mutant), listed(mutant)]
    return [*found, release("mutant", mutant), state(mutant), listed(mutant)]


@MUTEX.fact(lambda kind: [0, [0, 1, -int(kind == "mutex")], True, 0, [1, 0, 0], False], kind=KINDS)
def acquiring_lists_it_with_its_owner_and_releasing_takes_it_off(kind: str) -> list[Any]:
    mutex = new(kind)
    found = [wait(mutex), state(mutex), listed(mutex)]
    return [*found, release(kind, mutex), state(mutex), listed(mutex)]


@MUTEX.fact(
    lambda kind: (
        [[-n, 1, -int(kind == "mutex")] for n in range(8)],
        [(n - 7, [n - 6, 1, -int(kind == "mutex")]) for n in range(7)],
        (0, [1, 0, 0]),
    ),
    kind=KINDS,
)
def acquiring_again_counts_the_state_down_and_the_apc_count_once(kind: str) -> Any:
    mutex, down = new(kind), []
    for _ in range(8):
        wait(mutex)
        down.append(state(mutex))
    up = [(release(kind, mutex), state(mutex)) for _ in range(7)]
    return down, up, (release(kind, mutex), state(mutex))


@MUTEX.fact([MINLONG, 0xC0000191, MINLONG, MINLONG, MINLONG + 1], kind=KINDS)
def one_acquisition_too_many_raises_STATUS_MUTANT_LIMIT_EXCEEDED(kind: str) -> list[int]:
    mutex = new(kind)
    wait(mutex)
    mutex.Header.SignalState = MINLONG + 1
    wait(mutex)
    found = [mutex.Header.SignalState, raised(lambda: wait(mutex)), mutex.Header.SignalState]
    found += [release(kind, mutex), mutex.Header.SignalState]
    mutex.Header.SignalState = 0
    release(kind, mutex)
    return found


@MUTEX.fact([-1, 0, 0, 1], kind=KINDS)
def releasing_counts_from_the_state_that_is_there(kind: str) -> list[int]:
    mutex = new(kind)
    wait(mutex)
    mutex.Header.SignalState = -1
    found = [release(kind, mutex), mutex.Header.SignalState]
    return [*found, release(kind, mutex), mutex.Header.SignalState]


@MUTEX.fact([0xC0000046, [1, 0, 0]], kind=KINDS)
def one_release_too_many_raises_STATUS_MUTANT_NOT_OWNED(kind: str) -> list[Any]:
    mutex = new(kind)
    wait(mutex)
    release(kind, mutex)
    return [raised(lambda: release(kind, mutex)), state(mutex)]


@SYNC.fact([[0] * 10, list(range(-9, 1)), 0, 0, STATUS_TIMEOUT, 0, 0])
def a_mutex_is_free_for_others_after_as_many_releases_as_waits() -> list[Any]:
    mutex, statuses = new("mutex"), []

    def other(context: Any) -> None:
        status = poll(mutex)
        statuses.append(status)
        if not status:
            KeReleaseMutex(mutex, FALSE)

    waits = [poll(mutex) for _ in range(10)]
    releases = [KeReleaseMutex(mutex, FALSE) for _ in range(10)]
    wait(start(other))
    held = poll(mutex)
    wait(start(other))
    last = KeReleaseMutex(mutex, FALSE)
    wait(start(other))
    return [waits, releases, held, *statuses, last]


# Guarded mutexes

LEVELS = [PASSIVE_LEVEL, APC_LEVEL]
COUNTS = [(0, 0), (-1, 0), (-3, 0), (0, -1), (-1, -1), (-3, -2)]


def guarded(level: int, counts: tuple[int, int]) -> Any:
    """A mutex, with the level and the thread's counts set first."""
    mutex = KGUARDED_MUTEX()
    KeInitializeGuardedMutex(mutex)
    for _ in range(-counts[0]):
        KeEnterCriticalRegion()
    for _ in range(-counts[1]):
        KeEnterGuardedRegion()
    KeRaiseIrql(level)
    return mutex


def settled(found: list[Any]) -> list[Any]:
    """The same, after the thread has left what `guarded` entered: it must not end in a region."""
    KeLowerIrql(PASSIVE_LEVEL)
    thread = KeGetCurrentThread()
    thread.KernelApcDisable = thread.SpecialApcDisable = 0
    return found


def guarded_state(mutex: Any) -> tuple[int, bool, int, int, bool, int]:
    """Count, owned by this thread, the thread's two counts, all APCs disabled, IRQL."""
    thread = KeGetCurrentThread()
    owned = int(mutex.Owner) == int(thread)
    counts = thread.KernelApcDisable, thread.SpecialApcDisable
    return (mutex.Count, owned, *counts, bool(KeAreAllApcsDisabled()), KeGetCurrentIrql())


@GUARDED.fact(
    lambda level, counts: [
        (0, True, counts[0], counts[1] - 1, True, level),
        False,
        (1, False, *counts, bool(level or counts[1]), level),
        True,
        (0, True, counts[0], counts[1] - 1, True, level),
    ],
    level=LEVELS, counts=COUNTS,
)  # fmt: skip
def a_guarded_mutex_enters_a_guarded_region_at_any_irql_and_count(
    level: int, counts: tuple[int, int]
) -> list[Any]:
    mutex = guarded(level, counts)
    KeAcquireGuardedMutex(mutex)
    found = [guarded_state(mutex), bool(KeTryToAcquireGuardedMutex(mutex))]
    KeReleaseGuardedMutex(mutex)
    found += [guarded_state(mutex), bool(KeTryToAcquireGuardedMutex(mutex)), guarded_state(mutex)]
    KeReleaseGuardedMutex(mutex)
    return settled(found)


@GUARDED.fact(
    lambda level, counts: [
        (0, True, *counts, bool(level or counts[1]), level),
        (1, False, *counts, bool(level or counts[1]), level),
    ],
    level=LEVELS, counts=COUNTS,
)  # fmt: skip
def the_unsafe_routines_leave_the_threads_counts_alone(
    level: int, counts: tuple[int, int]
) -> list[Any]:
    mutex = guarded(level, counts)
    KeAcquireGuardedMutexUnsafe(mutex)
    found = [guarded_state(mutex)]
    KeReleaseGuardedMutexUnsafe(mutex)
    return settled([*found, guarded_state(mutex)])


@GUARDED.fact([-1, 1])
def mixing_safe_and_unsafe_leaves_the_count_off_by_one() -> list[int]:
    mutex = guarded(PASSIVE_LEVEL, (0, 0))
    KeAcquireGuardedMutex(mutex)
    KeReleaseGuardedMutexUnsafe(mutex)
    found = [KeGetCurrentThread().SpecialApcDisable]
    KeLeaveGuardedRegion()
    KeAcquireGuardedMutexUnsafe(mutex)
    KeReleaseGuardedMutex(mutex)
    found.append(KeGetCurrentThread().SpecialApcDisable)
    KeEnterGuardedRegion()
    return found


@GUARDED.fact([True, [False], 1, 4, 8, ["second", "third"], 2])
def who_finds_it_held_waits_and_is_counted_as_contention() -> list[Any]:
    mutex, tries, order = guarded(PASSIVE_LEVEL, (0, 0)), [], []
    KeAcquireGuardedMutex(mutex)
    held = int(mutex.Owner) == int(KeGetCurrentThread())
    wait(start(lambda context: tries.append(bool(KeTryToAcquireGuardedMutex(mutex)))))

    def waiter(name: str) -> Any:
        def routine(context: Any) -> None:
            KeAcquireGuardedMutex(mutex)
            order.append(name)
            KeReleaseGuardedMutex(mutex)

        return routine

    threads = [start(waiter("second"))]
    pause()
    found = [held, tries, mutex.Contention, mutex.Count]
    threads.append(start(waiter("third")))
    pause()
    found.append(mutex.Count)
    KeReleaseGuardedMutex(mutex)
    for thread in threads:
        wait(thread)
    return [*found, order, mutex.Contention]


# Semaphores


def semaphore(count: int, limit: int = 5) -> Any:
    made = KSEMAPHORE()
    KeInitializeSemaphore(made, count, limit)
    return made


@SYNC.fact([STATUS_TIMEOUT, 0, 1, 3, [0, 0, 0, 0, STATUS_TIMEOUT]])
def a_semaphore_returns_its_old_count_and_lets_as_many_go() -> list[Any]:
    made = semaphore(0)
    found = [poll(made), *(KeReleaseSemaphore(made, 0, n, FALSE) for n in (1, 2, 1))]
    return [*found, [poll(made) for _ in range(5)]]


@SYNC.fact([3, [0, 0, 0, 0, STATUS_TIMEOUT]])
def a_semaphore_starts_with_its_count() -> list[Any]:
    made = semaphore(3)
    return [KeReleaseSemaphore(made, 0, 1, FALSE), [poll(made) for _ in range(5)]]


@SYNC.fact([STATUS_TIMEOUT, 0, 1, STATUS_TIMEOUT, 0, STATUS_TIMEOUT])
def waits_for_two_semaphores_take_one_or_both() -> list[int]:
    objects = (PVOID * 2)()
    made = objects[0], objects[1] = semaphore(0), semaphore(0)

    def poll_both(kind: int) -> int:
        return KeWaitForMultipleObjects(
            2, objects, kind, Executive, KernelMode, FALSE, large(0), NULL
        )

    found = [poll_both(WaitAny)]
    for each in made:
        KeReleaseSemaphore(each, 0, 1, FALSE)
    found += [poll_both(WaitAny) for _ in range(3)]
    for each in made:
        KeReleaseSemaphore(each, 0, 1, FALSE)
    return [*found, poll_both(WaitAll), poll_both(WaitAny)]


test_fact = as_tests(MUTEX, GUARDED, SYNC)
