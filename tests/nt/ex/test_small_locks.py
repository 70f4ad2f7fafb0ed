"""Reader-writer spin locks, push locks and run-down protection.

Source: WDK "Reader-Writer Spin Locks", ExAcquirePushLockExclusiveEx, "Run-Down Protection".
"""

import pytest

import ntsim
from ntsim.wdm import *

ALONE = -(1 << 31)


def start(routine, context=0) -> None:
    _, handle = PsCreateSystemThread(0, NULL, NULL, NULL, routine, context)
    ZwClose(handle)


def pause(milliseconds: int = 1) -> None:
    interval = LARGE_INTEGER()
    interval.QuadPart = -milliseconds * 10_000
    KeDelayExecutionThread(KernelMode, FALSE, interval)


# Spin locks


def test_sharing_counts_and_raises_and_lowers(value_of) -> None:
    def body() -> list[int]:
        lock = EX_SPIN_LOCK()
        found = [ExAcquireSpinLockShared(lock), KeGetCurrentIrql(), lock[0]]
        ExAcquireSpinLockSharedAtDpcLevel(lock)
        found += [lock[0], ExTryConvertSharedSpinLockExclusive(lock)]
        ExReleaseSpinLockSharedFromDpcLevel(lock)
        found += [ExTryConvertSharedSpinLockExclusive(lock), lock[0]]
        ExReleaseSpinLockExclusive(lock, found[0])
        return [*found, lock[0], KeGetCurrentIrql()]

    assert value_of(body) == [0, DISPATCH_LEVEL, 1, 2, False, True, ALONE, 0, 0]


def test_trying_does_not_spin(value_of) -> None:
    def body() -> list[int]:
        lock = EX_SPIN_LOCK()
        KeRaiseIrql(DISPATCH_LEVEL)
        found = [ExTryAcquireSpinLockExclusiveAtDpcLevel(lock), lock[0]]
        found += [ExTryAcquireSpinLockSharedAtDpcLevel(lock)]
        ExReleaseSpinLockExclusiveFromDpcLevel(lock)
        found += [ExTryAcquireSpinLockSharedAtDpcLevel(lock)]
        found += [ExTryAcquireSpinLockExclusiveAtDpcLevel(lock), lock[0]]
        ExReleaseSpinLockSharedFromDpcLevel(lock)
        KeLowerIrql(PASSIVE_LEVEL)
        return found

    assert value_of(body) == [True, ALONE, False, True, False, 1]


@pytest.mark.parametrize("seed", range(4))
def test_a_writer_is_alone_and_no_update_is_lost(value_of, seed: int) -> None:
    def body() -> list[int]:
        lock, count, ready = EX_SPIN_LOCK(), ULONG(), KSEMAPHORE()
        KeInitializeSemaphore(ready, 0, 8)
        seen = []

        def worker(Context) -> None:
            for _ in range(10):
                old = ExAcquireSpinLockShared(lock)
                seen.append(count[0])
                ExReleaseSpinLockShared(lock, old)
                old = ExAcquireSpinLockExclusive(lock)
                value = count[0]
                KeStallExecutionProcessor(1)
                count[0] = value + 1
                ExReleaseSpinLockExclusive(lock, old)
            KeReleaseSemaphore(ready, 0, 1, FALSE)

        for _ in range(3):
            start(worker)
        for _ in range(3):
            KeWaitForSingleObject(ready, Executive, KernelMode, FALSE, NULL)
        return [count[0], lock[0], len(seen)]

    assert value_of(body, processors=3, seed=seed) == [30, 0, 30]


def test_asking_for_a_shared_lock_alone_spins_until_the_watchdog(bugcheck_of) -> None:
    def body() -> None:
        lock = EX_SPIN_LOCK()
        ExAcquireSpinLockShared(lock)
        ExAcquireSpinLockExclusiveAtDpcLevel(lock)

    assert bugcheck_of(body).code == 0x133


# Push locks


def test_an_uncontended_push_lock_counts_its_sharers(value_of) -> None:
    def body() -> list[int]:
        lock, found = EX_PUSH_LOCK(), []
        ExInitializePushLock(lock)
        KeEnterCriticalRegion()
        for acquire in (ExAcquirePushLockShared, ExAcquirePushLockShared):
            acquire(lock)
            found.append(lock.Value)
        for _ in range(2):
            ExReleasePushLockShared(lock)
            found.append(lock.Value)
        ExAcquirePushLockExclusiveEx(lock, 0)
        found.append(lock.Value)
        ExReleasePushLockExclusiveEx(lock, 0)
        KeLeaveCriticalRegion()
        return [*found, lock.Value]

    assert value_of(body) == [0x11, 0x21, 0x11, 0, 1, 0]


@pytest.mark.parametrize("seed", range(5))
def test_sharers_and_owners_of_a_push_lock_never_meet(value_of, seed: int) -> None:
    def body() -> list:
        lock, done, readers, writers, bad = EX_PUSH_LOCK(), [], [], [], []
        ExInitializePushLock(lock)

        def worker(number) -> None:
            for turn in range(5):
                KeEnterCriticalRegion()
                if (number + turn) % 2:
                    ExAcquirePushLockSharedEx(lock, 0)
                    readers.append(number)
                    bad.extend(writers)
                    pause()
                    readers.remove(number)
                    ExReleasePushLockSharedEx(lock, 0)
                else:
                    ExAcquirePushLockExclusive(lock)
                    bad.extend(readers + writers)
                    writers.append(number)
                    pause()
                    writers.remove(number)
                    ExReleasePushLockExclusive(lock)
                KeLeaveCriticalRegion()
            done.append(number)

        for number in range(5):
            start(worker, number)
        while len(done) < 5:
            pause()
        return [bad, lock.Value]

    assert value_of(body, processors=3, seed=seed) == [[], 0]


def test_flags_that_do_not_exist_are_0x152(bugcheck_of) -> None:
    stop = bugcheck_of(lambda: ExAcquirePushLockExclusiveEx(EX_PUSH_LOCK(), 0x100))
    assert (stop.name, stop.parameters[0]) == ("INVALID_PUSH_LOCK_FLAGS", 0x100)


def test_acquiring_a_push_lock_twice_hangs(run_driver) -> None:
    def body() -> None:
        lock = EX_PUSH_LOCK()
        ExInitializePushLock(lock)
        ExAcquirePushLockExclusive(lock)
        ExAcquirePushLockExclusive(lock)

    with pytest.raises(ntsim.Hang):
        run_driver(body)


# Run-down protection


def test_references_are_counted_in_twos(value_of) -> None:
    def body() -> list:
        run = EX_RUNDOWN_REF()
        ExInitializeRundownProtection(run)
        found = [ExAcquireRundownProtection(run), run.Count]
        found += [ExAcquireRundownProtectionEx(run, 3), run.Count]
        ExReleaseRundownProtectionEx(run, 3)
        ExReleaseRundownProtection(run)
        return [*found, run.Count]

    assert value_of(body) == [True, 2, True, 8, 0]


def test_after_the_run_down_nobody_gets_in_until_it_is_initialized_again(value_of) -> None:
    def body() -> list:
        run = EX_RUNDOWN_REF()
        ExInitializeRundownProtection(run)
        ExWaitForRundownProtectionRelease(run)
        found = [run.Count, ExAcquireRundownProtection(run)]
        ExWaitForRundownProtectionRelease(run)
        ExReInitializeRundownProtection(run)
        found.append(ExAcquireRundownProtection(run))
        ExReleaseRundownProtection(run)
        ExRundownCompleted(run)
        return [*found, run.Count, ExAcquireRundownProtection(run)]

    assert value_of(body) == [1, False, True, 1, False]


def test_the_owner_waits_for_the_last_reference(value_of) -> None:
    def body() -> list:
        run, order = EX_RUNDOWN_REF(), []
        ExInitializeRundownProtection(run)

        def user(milliseconds) -> None:
            ExAcquireRundownProtection(run)
            pause(milliseconds)
            order.append(milliseconds)
            ExReleaseRundownProtection(run)

        def latecomer(Context) -> None:
            pause(5)
            order.append(ExAcquireRundownProtection(run))

        for milliseconds in (5, 40):
            start(user, milliseconds)
        pause(2)
        start(latecomer)
        ExWaitForRundownProtectionRelease(run)
        order.append("run down")
        ExRundownCompleted(run)
        return [order, run.Count]

    order, count = value_of(body)
    assert order[-2:] == [40, "run down"]
    assert False in order
    assert count == 1


def test_an_owner_that_holds_a_reference_waits_for_itself(run_driver) -> None:
    def body() -> None:
        run = EX_RUNDOWN_REF()
        ExInitializeRundownProtection(run)
        ExAcquireRundownProtection(run)
        ExWaitForRundownProtectionRelease(run)

    with pytest.raises(ntsim.Hang):
        run_driver(body)
