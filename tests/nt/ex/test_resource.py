"""Executive resources: who gets in, in which order, and what a wrong release costs.

Source: WDK "Introduction to ERESOURCE Routines"; ReactOS kmtests ExResource.c.
"""

import pytest

import ntsim
from ntsim.wdm import *


def start(routine, context=0) -> None:
    _, handle = PsCreateSystemThread(0, NULL, NULL, NULL, routine, context)
    ZwClose(handle)


def pause(milliseconds: int = 1) -> None:
    interval = LARGE_INTEGER()
    interval.QuadPart = -milliseconds * 10_000
    KeDelayExecutionThread(KernelMode, FALSE, interval)


def new_resource():
    resource = cast(ExAllocatePoolWithTag(NonPagedPoolNx, ERESOURCE.size, 1), PERESOURCE)
    assert ExInitializeResourceLite(resource) == STATUS_SUCCESS
    return resource


def held(resource) -> list:
    """(alone, how often, exclusive waiters, sharing waiters) as the current thread sees it."""
    return [
        ExIsResourceAcquiredExclusiveLite(resource),
        ExIsResourceAcquiredSharedLite(resource),
        ExGetExclusiveWaiterCount(resource),
        ExGetSharedWaiterCount(resource),
    ]


def in_thread(routine):
    """What `routine` returns in a thread of its own."""
    found = []
    start(lambda Context: found.append(routine()))
    while not found:
        pause()
    return found[0]


def test_an_initialized_resource_is_free_and_in_the_list(value_of) -> None:
    def body() -> list:
        resource = new_resource()
        links = resource.SystemResourcesList
        return [
            links.Flink.Blink == links == links.Blink.Flink, resource.OwnerTable,
            resource.ActiveCount, resource.Flag, resource.SharedWaiters,
            resource.ExclusiveWaiters, resource.OwnerEntry.OwnerThread, resource.ActiveEntries,
            *held(resource), ExDeleteResourceLite(resource),
        ]  # fmt: skip

    assert value_of(body) == [True, 0, 0, 0, 0, 0, 0, 0, False, 0, 0, 0, 0]


def test_exclusive_ownership_nests_and_counts_as_shared_too(value_of) -> None:
    def body() -> list:
        resource = new_resource()
        found = [ExAcquireResourceExclusiveLite(resource, FALSE), held(resource)]
        found += [ExAcquireResourceExclusiveLite(resource, TRUE), held(resource)]
        found += [ExAcquireResourceSharedLite(resource, FALSE), held(resource)]
        found.append(resource.Flag & 0x80)
        for _ in range(3):
            ExReleaseResourceLite(resource)
        return [*found, held(resource), resource.Flag, resource.ActiveCount]

    assert value_of(body) == [
        True, [True, 1, 0, 0], True, [True, 2, 0, 0], True, [True, 3, 0, 0], 0x80,
        [False, 0, 0, 0], 0, 0,
    ]  # fmt: skip


def test_shared_ownership_nests_and_does_not_become_exclusive(value_of) -> None:
    def body() -> list:
        resource = new_resource()
        found = [ExAcquireResourceSharedLite(resource, FALSE) for _ in range(2)]
        found += [held(resource), ExAcquireResourceExclusiveLite(resource, FALSE)]
        ExReleaseResourceLite(resource)
        found.append(held(resource))
        ExReleaseResourceLite(resource)
        return [*found, held(resource)]

    assert value_of(body) == [True, True, [False, 2, 0, 0], False, [False, 1, 0, 0],
                              [False, 0, 0, 0]]  # fmt: skip


def test_many_threads_share_and_each_has_its_own_count(value_of) -> None:
    def body() -> list:
        resource = new_resource()
        ExAcquireResourceSharedLite(resource, TRUE)
        go, counts = KEVENT(), []
        KeInitializeEvent(go, NotificationEvent, FALSE)

        def sharer(number) -> None:
            for _ in range(number):
                ExAcquireResourceSharedLite(resource, TRUE)
            KeWaitForSingleObject(go, Executive, KernelMode, FALSE, NULL)
            counts.append(ExIsResourceAcquiredSharedLite(resource))
            for _ in range(number):
                ExReleaseResourceLite(resource)

        for number in range(1, 8):
            start(sharer, number)
        pause(5)
        active, size = resource.ActiveEntries, resource.OwnerTable.TableSize
        KeSetEvent(go, 0, FALSE)
        pause(5)
        return [active, size, sorted(counts), resource.ActiveEntries, held(resource)]

    assert value_of(body, processors=2) == [8, 9, [1, 2, 3, 4, 5, 6, 7], 1, [False, 1, 0, 0]]


def test_while_one_holds_it_alone_others_wait_or_are_refused(value_of) -> None:
    def body() -> list:
        resource, order = new_resource(), []
        ExAcquireResourceExclusiveLite(resource, TRUE)
        refused = in_thread(
            lambda: [
                ExAcquireResourceSharedLite(resource, FALSE),
                ExAcquireResourceExclusiveLite(resource, FALSE),
                ExAcquireSharedStarveExclusive(resource, FALSE),
                ExAcquireSharedWaitForExclusive(resource, FALSE),
                *held(resource),
            ]
        )

        def user(alone) -> None:
            acquire = ExAcquireResourceExclusiveLite if alone else ExAcquireResourceSharedLite
            acquire(resource, TRUE)
            order.append("alone" if alone else "shared")
            pause()
            ExReleaseResourceLite(resource)

        for alone in (1, 0, 1, 0):
            start(user, alone)
            pause()
        waiting = held(resource)
        ExReleaseResourceLite(resource)
        pause(10)
        return [refused, waiting, order, resource.ActiveEntries, resource.ContentionCount]

    refused, waiting, order, active, contention = value_of(body)
    assert refused == [False] * 4 + [False, 0, 0, 0]
    assert waiting == [True, 1, 2, 2]
    assert order == ["shared", "shared", "alone", "alone"]
    assert (active, contention) == (0, 4)


def test_a_new_sharer_stands_behind_an_exclusive_waiter_unless_it_may_starve_it(value_of) -> None:
    def body() -> list:
        resource = new_resource()
        ExAcquireResourceSharedLite(resource, TRUE)

        def writer(Context) -> None:
            ExAcquireResourceExclusiveLite(resource, TRUE)
            ExReleaseResourceLite(resource)

        start(writer)
        pause()

        def newcomer() -> list:
            found = [ExAcquireResourceSharedLite(resource, FALSE)]
            found.append(ExAcquireSharedWaitForExclusive(resource, FALSE))
            found.append(ExAcquireSharedStarveExclusive(resource, FALSE))
            ExReleaseResourceLite(resource)
            return found

        found = [*in_thread(newcomer), ExAcquireResourceSharedLite(resource, FALSE)]
        found.append(ExAcquireSharedWaitForExclusive(resource, FALSE))
        ExReleaseResourceLite(resource)
        ExReleaseResourceLite(resource)
        pause()
        return [*found, held(resource), resource.ActiveEntries]

    assert value_of(body) == [False, False, True, True, False, [False, 0, 0, 0], 0]


def test_converting_to_shared_lets_waiting_sharers_in(value_of) -> None:
    def body() -> list:
        resource, inside = new_resource(), []
        ExAcquireResourceExclusiveLite(resource, TRUE)

        def sharer(Context) -> None:
            ExAcquireResourceSharedLite(resource, TRUE)
            inside.append(1)
            ExReleaseResourceLite(resource)

        start(sharer)
        pause()
        before = len(inside)
        ExConvertExclusiveToSharedLite(resource)
        pause()
        found = [before, len(inside), held(resource)]
        ExReleaseResourceLite(resource)
        return [*found, resource.ActiveEntries]

    assert value_of(body) == [0, 1, [False, 1, 0, 0], 0]


@pytest.mark.parametrize("seed", range(3))
def test_readers_and_writers_never_meet(value_of, seed: int) -> None:
    def body() -> int:
        resource, done, readers, writers, bad = new_resource(), [], [], [], []

        def worker(number) -> None:
            for turn in range(4):
                KeEnterCriticalRegion()
                if (number + turn) % 3:
                    ExAcquireResourceSharedLite(resource, TRUE)
                    readers.append(number)
                    bad.extend(writers)
                    pause()
                    readers.remove(number)
                else:
                    ExAcquireResourceExclusiveLite(resource, TRUE)
                    bad.extend(readers + writers)
                    writers.append(number)
                    pause()
                    writers.remove(number)
                ExReleaseResourceLite(resource)
                KeLeaveCriticalRegion()
            done.append(number)

        for number in range(5):
            start(worker, number)
        while len(done) < 5:
            pause()
        return [bad, resource.ActiveEntries, held(resource)]

    assert value_of(body, processors=3, seed=seed) == [[], 0, [False, 0, 0, 0]]


def test_the_critical_region_routines_do_both(value_of) -> None:
    def body() -> list:
        resource, thread = new_resource(), KeGetCurrentThread()
        found = []
        for acquire in (
            ExEnterCriticalRegionAndAcquireResourceExclusive,
            ExEnterCriticalRegionAndAcquireResourceShared,
            ExEnterCriticalRegionAndAcquireSharedWaitForExclusive,
        ):
            found += [acquire(resource), thread.KernelApcDisable, held(resource)[:2]]
            ExReleaseResourceAndLeaveCriticalRegion(resource)
        return [*found, thread.KernelApcDisable]

    assert value_of(body) == [0, -1, [True, 1], 0, -1, [False, 1], 0, -1, [False, 1], 0]


def test_an_owner_pointer_lets_another_thread_release(value_of) -> None:
    def body() -> list:
        resource = new_resource()
        ExAcquireResourceExclusiveLite(resource, TRUE)
        ExSetResourceOwnerPointer(resource, 0xFFFF_8000_0000_1003)
        found = held(resource)
        in_thread(lambda: ExReleaseResourceForThreadLite(resource, 0xFFFF_8000_0000_1003) or 1)
        return [found, resource.ActiveEntries, resource.Flag]

    assert value_of(body) == [[False, 0, 0, 0], 0, 0]


def test_reinitializing_frees_it_and_leaves_it_in_the_list(value_of) -> None:
    def body() -> list:
        resource = new_resource()
        ExAcquireResourceExclusiveLite(resource, TRUE)
        ExReinitializeResourceLite(resource)
        links = resource.SystemResourcesList
        return [held(resource), links.Flink.Blink == links, ExDeleteResourceLite(resource)]

    assert value_of(body) == [[False, 0, 0, 0], True, 0]


# Mistakes


@pytest.mark.parametrize("alone", [True, False])
def test_releasing_what_another_thread_holds_is_0xe3(bugcheck_of, alone: bool) -> None:
    seen = []

    def body() -> None:
        resource = new_resource()
        acquire = ExAcquireResourceExclusiveLite if alone else ExAcquireResourceSharedLite
        acquire(resource, TRUE)

        def intruder(Context) -> None:
            seen.extend([int(resource), int(KeGetCurrentThread()), 0])
            ExReleaseResourceLite(resource)

        start(intruder)
        pause()

    stop = bugcheck_of(body)
    assert stop.name == "RESOURCE_NOT_OWNED"
    assert list(stop.parameters[:3]) == seen


def test_releasing_a_free_resource_is_0xe3(bugcheck_of) -> None:
    assert bugcheck_of(lambda: ExReleaseResourceLite(new_resource())).code == 0xE3


def test_releasing_for_a_thread_that_holds_nothing_is_0x16e(bugcheck_of) -> None:
    stop = bugcheck_of(lambda: ExReleaseResourceForThreadLite(new_resource(), 0x1003))
    assert (stop.name, stop.parameters[2]) == ("ERESOURCE_INVALID_RELEASE", 0x1003)


def test_an_owner_pointer_without_its_two_low_bits_is_0x132(bugcheck_of) -> None:
    def body() -> None:
        resource = new_resource()
        ExAcquireResourceExclusiveLite(resource, TRUE)
        ExSetResourceOwnerPointer(resource, 0x1000)

    stop = bugcheck_of(body)
    assert (stop.name, stop.parameters[3]) == ("RESOURCE_OWNER_POINTER_INVALID", 0x1000)


def test_deleting_a_resource_twice_is_a_corrupt_list(bugcheck_of) -> None:
    def body() -> None:
        resource, _other = new_resource(), new_resource()
        ExDeleteResourceLite(resource)
        ExDeleteResourceLite(resource)

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[0]) == (0x139, 3)


def test_freeing_a_resource_without_deleting_it_corrupts_the_list_of_all(bugcheck_of) -> None:
    def body() -> None:
        resource = new_resource()
        write_bytes(resource, b"\xcc" * ERESOURCE.size)
        ExFreePoolWithTag(resource, 1)
        ExInitializeResourceLite(ERESOURCE())

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[0]) == (0x139, 3)


def test_sharing_and_then_waiting_to_hold_it_alone_hangs(run_driver) -> None:
    def body() -> None:
        resource = new_resource()
        ExAcquireResourceSharedLite(resource, TRUE)
        ExAcquireResourceExclusiveLite(resource, TRUE)

    with pytest.raises(ntsim.Hang):
        run_driver(body)
