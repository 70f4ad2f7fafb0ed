"""Remove locks. Source: WDK "Using Remove Locks"."""

from ntsim.wdm import *


def test_operations_are_counted_and_removal_waits_for_the_last(run_driver) -> None:
    def work() -> list[int]:
        lock, order = IO_REMOVE_LOCK(), []
        IoInitializeRemoveLock(lock, 0, 0, 0)
        statuses = [IoAcquireRemoveLock(lock, 1), IoAcquireRemoveLock(lock, 2)]

        def other(context) -> None:
            interval = LARGE_INTEGER()
            interval.QuadPart = -10_000
            KeDelayExecutionThread(KernelMode, FALSE, interval)
            order.append("acquire while removing")
            statuses.append(IoAcquireRemoveLock(lock, 3))
            order.append("release the other")
            IoReleaseRemoveLock(lock, 2)

        _, thread = PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, other, NULL)
        ZwClose(thread)
        IoReleaseRemoveLockAndWait(lock, 1)
        order.append("removed")
        return [statuses, order, lock.Common.IoCount, lock.Common.Removed]

    done = run_driver(work)
    assert done.value == [
        [0, 0, STATUS_DELETE_PENDING],
        ["acquire while removing", "release the other", "removed"],
        0,
        1,
    ]


def test_removal_without_other_operations_does_not_wait(value_of) -> None:
    def work() -> list[int]:
        lock = IO_REMOVE_LOCK()
        IoInitializeRemoveLock(lock, 0, 0, 0)
        IoAcquireRemoveLock(lock, NULL)
        IoReleaseRemoveLockAndWait(lock, NULL)
        return [IoAcquireRemoveLock(lock, NULL), lock.Common.IoCount]

    assert value_of(work) == [STATUS_DELETE_PENDING, 0]
