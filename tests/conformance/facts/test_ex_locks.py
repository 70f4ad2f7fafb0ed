"""Facts of executive resources and fast mutexes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, WINE, Facts, as_tests, pause, raised, start, wait

RESOURCE = Facts(f"{KMTESTS}/ntos_ex/ExResource.c")
WINE_RESOURCE = Facts(f"{WINE}/driver.c test_resource")
FAST_MUTEXES = Facts(f"{KMTESTS}/ntos_ex/ExFastMutex.c")

SHARED: dict[str, Callable[..., Any]] = {
    "shared": ExAcquireResourceSharedLite,
    "starve": ExAcquireSharedStarveExclusive,
    "wait": ExAcquireSharedWaitForExclusive,
}


def new_resource() -> Any:
    resource = ERESOURCE()
    RtlFillMemory(resource, sizeof(ERESOURCE), 0x55)
    ExInitializeResourceLite(resource)
    KeEnterCriticalRegion()
    return resource


def held(resource: Any) -> tuple[bool, int, int, int]:
    """Exclusive, how often, exclusive waiters, sharing waiters."""
    return (
        bool(ExIsResourceAcquiredExclusiveLite(resource)),
        ExIsResourceAcquiredSharedLite(resource),
        ExGetExclusiveWaiterCount(resource),
        ExGetSharedWaiterCount(resource),
    )


def release(resource: Any, times: int = 1) -> None:
    for _ in range(times):
        ExReleaseResourceForThreadLite(resource, ExGetCurrentResourceThread())


def left(resource: Any, found: Any) -> Any:
    """The same, with the resource deleted and the thread in no region: it must not end in one."""
    ExDeleteResourceLite(resource)
    KeLeaveCriticalRegion()
    return found


@RESOURCE.fact([True, 0, 0, 0, 0, 0, 0, 0, 0, 0, (False, 0, 0, 0)])
def an_initialized_resource_is_linked_and_otherwise_zero() -> list[Any]:
    resource = new_resource()
    links = resource.SystemResourcesList
    linked = links.Flink.Blink == links and links.Blink.Flink == links
    found = [linked, int(resource.OwnerTable), resource.ActiveCount, resource.Flag]
    found += [int(resource.SharedWaiters), int(resource.ExclusiveWaiters)]
    found += [int(resource.OwnerEntry.OwnerThread), resource.ContentionCount]
    found += [resource.NumberOfSharedWaiters, resource.NumberOfExclusiveWaiters, held(resource)]
    return left(resource, found)


@RESOURCE.fact([0, 0])
def a_resource_can_be_initialized_at_dispatch_level_and_deleted_at_apc_level() -> list[int]:
    resource = ERESOURCE()
    KeRaiseIrql(DISPATCH_LEVEL)
    found = [ExInitializeResourceLite(resource)]
    KeLowerIrql(APC_LEVEL)
    return [*found, ExDeleteResourceLite(resource)]


@RESOURCE.fact(0xC0000005)
def initializing_NULL_raises_an_access_violation() -> int:
    return raised(lambda: ExInitializeResourceLite(NULL))


@RESOURCE.fact([(False, 1, 0, 0), True, (False, 2, 0, 0), False, (False, 2, 0, 0)],
               routine=list(SHARED), waits=[False, True])  # fmt: skip
def who_shares_may_share_again_but_not_become_exclusive(routine: str, waits: bool) -> list[Any]:
    resource = new_resource()
    ExAcquireResourceSharedLite(resource, FALSE)
    found: list[Any] = [held(resource), bool(SHARED[routine](resource, waits)), held(resource)]
    found += [bool(ExAcquireResourceExclusiveLite(resource, FALSE)), held(resource)]
    release(resource, 2)
    return left(resource, found)


@RESOURCE.fact([True, (True, 2, 0, 0), (False, 2, 0, 0), (False, 0, 0, 0)],
               routine=["exclusive", *SHARED], waits=[False, True])  # fmt: skip
def who_holds_it_exclusive_may_take_it_again_in_any_way_and_convert(
    routine: str, waits: bool
) -> list[Any]:
    resource = new_resource()
    ExAcquireResourceExclusiveLite(resource, FALSE)
    acquire = {"exclusive": ExAcquireResourceExclusiveLite, **SHARED}[routine]
    found: list[Any] = [bool(acquire(resource, waits)), held(resource)]
    ExConvertExclusiveToSharedLite(resource)
    found.append(held(resource))
    release(resource, 2)
    return left(resource, [*found, held(resource)])


@RESOURCE.fact([(False, 1, 0, 0)])
def converting_what_is_only_shared_changes_nothing() -> list[Any]:
    resource = new_resource()
    ExAcquireResourceSharedLite(resource, FALSE)
    ExConvertExclusiveToSharedLite(resource)
    found = [held(resource)]
    release(resource)
    return left(resource, found)


@RESOURCE.fact(
    lambda level: [
        *((True, False, count, bool(level)) for count in (1, 2, 3, 2, 1)),
        (False, False, 0, bool(level)),
        *((True, True, count, bool(level)) for count in (1, 2, 1)),
        (False, False, 0, bool(level)),
    ],
    level=[PASSIVE_LEVEL, APC_LEVEL],
)
def the_shortcuts_enter_a_critical_region_each_time(level: int) -> list[Any]:
    resource = ERESOURCE()
    ExInitializeResourceLite(resource)
    KeRaiseIrql(level)
    found = []
    for routine in (
        ExEnterCriticalRegionAndAcquireResourceShared,
        ExEnterCriticalRegionAndAcquireResourceShared,
        ExEnterCriticalRegionAndAcquireSharedWaitForExclusive,
        *[ExReleaseResourceAndLeaveCriticalRegion] * 3,
        *[ExEnterCriticalRegionAndAcquireResourceExclusive] * 2,
        *[ExReleaseResourceAndLeaveCriticalRegion] * 2,
    ):
        routine(resource)
        apcs = bool(KeAreApcsDisabled()), bool(KeAreAllApcsDisabled())
        found.append((apcs[0], *held(resource)[:2], apcs[1]))
    return found


@RESOURCE.fact([0, 0])
def a_hold_may_be_given_to_a_pointer_that_is_no_thread_and_released_for_it() -> list[int]:
    resource = new_resource()
    found = []
    for owner in (3, int(resource) | 3):
        ExAcquireResourceExclusiveLite(resource, FALSE)
        ExSetResourceOwnerPointer(resource, owner)
        ExReleaseResourceForThreadLite(resource, owner)
        found.append(resource.ActiveEntries)
    return left(resource, found)


# Other threads


def holder(resource: Any, acquire: Callable[..., Any], waits: bool = True) -> Any:
    """A thread that acquires and holds until `go` is called; (results, go)."""
    results: list[bool] = []
    event = KEVENT()
    KeInitializeEvent(event, NotificationEvent, FALSE)

    def routine(context: Any) -> None:
        KeEnterCriticalRegion()
        got = bool(acquire(resource, waits))
        results.append(got)
        wait(event)
        if got:
            release(resource)
        KeLeaveCriticalRegion()

    thread = start(routine)
    pause(20)

    def go() -> None:
        KeSetEvent(event, 0, FALSE)
        wait(thread)

    return results, go


@WINE_RESOURCE.fact([(False, 0, 0, 0), False, True, True, True, (False, 0, 0, 0)])
def what_others_share_can_be_shared_but_not_taken_exclusive() -> list[Any]:
    resource = new_resource()
    _, go = holder(resource, ExAcquireResourceSharedLite)
    found: list[Any] = [held(resource), bool(ExAcquireResourceExclusiveLite(resource, FALSE))]
    for acquire in SHARED.values():
        found.append(bool(acquire(resource, FALSE)))
        release(resource)
    go()
    return left(resource, [*found, held(resource)])


@WINE_RESOURCE.fact([(True, 1, 0, 1), True, (True, 2, 0, 1), [True], (False, 0, 0, 0)])
def a_sharer_waits_for_the_exclusive_owner_who_may_still_take_it_again() -> list[Any]:
    resource = new_resource()
    ExAcquireResourceExclusiveLite(resource, FALSE)
    results, go = holder(resource, ExAcquireResourceSharedLite)
    found: list[Any] = [held(resource), bool(ExAcquireResourceExclusiveLite(resource, FALSE))]
    found.append(held(resource))
    release(resource, 2)
    pause()
    found.append(results[:])
    go()
    return left(resource, [*found, held(resource)])


@WINE_RESOURCE.fact([False, False, False, False, (False, 0, 0, 0)])
def nobody_gets_what_another_holds_exclusive() -> list[Any]:
    resource = new_resource()
    _, go = holder(resource, ExAcquireResourceExclusiveLite)
    acquires = (ExAcquireResourceExclusiveLite, *SHARED.values())
    found: list[Any] = [bool(acquire(resource, FALSE)) for acquire in acquires]
    found.append(held(resource))
    go()
    return left(resource, found)


@WINE_RESOURCE.fact([(False, 1, 1, 0), True, True, False, [], [True], (False, 0, 0, 0)])
def an_owner_may_share_again_past_an_exclusive_waiter_unless_it_yields() -> list[Any]:
    resource = new_resource()
    ExAcquireResourceSharedLite(resource, FALSE)
    results, go = holder(resource, ExAcquireResourceExclusiveLite)
    found: list[Any] = [held(resource)]
    for acquire in SHARED.values():
        found.append(bool(acquire(resource, FALSE)))
        if found[-1]:
            release(resource)
    found.append(results[:])
    release(resource)
    pause()
    found.append(results[:])
    go()
    return left(resource, [*found, held(resource)])


@WINE_RESOURCE.fact([(False, 0, 1, 0), False, False, True, False, (False, 0, 0, 0)])
def another_sharer_gets_in_past_an_exclusive_waiter_only_by_starving_it() -> list[Any]:
    resource = new_resource()
    _, first = holder(resource, ExAcquireResourceSharedLite)
    _, second = holder(resource, ExAcquireResourceExclusiveLite)
    found: list[Any] = [held(resource)]
    for acquire in (ExAcquireResourceExclusiveLite, *SHARED.values()):
        found.append(bool(acquire(resource, FALSE)))
        if found[-1]:
            release(resource)
    first()
    second()
    return left(resource, [*found, held(resource)])


@RESOURCE.fact([
    (1, 0, 0), (2, 0, 0), (1, 0, 0), (1, [False]), (1, 1, 0), (1, [False]), (1, [False]),
    (2, [True]), (1, 1, 1), (1, 0, 1, True), (1, 0, 0), (0, 0, 0),
])  # fmt: skip
def waiters_get_it_in_turn_the_exclusive_one_before_those_who_came_to_share() -> list[Any]:
    resource = new_resource()

    def state() -> tuple[int, int, int]:
        waiters = ExGetExclusiveWaiterCount(resource), ExGetSharedWaiterCount(resource)
        return (resource.ActiveEntries, *waiters)

    found: list[Any] = []
    _, first = holder(resource, ExAcquireResourceSharedLite)
    found.append(state())
    _, second = holder(resource, ExAcquireResourceSharedLite)
    found.append(state())
    second()
    found.append(state())
    refused, end = holder(resource, ExAcquireResourceExclusiveLite, waits=False)
    end()
    found.append((resource.ActiveEntries, refused))
    _, exclusive = holder(resource, ExAcquireResourceExclusiveLite)
    found.append(state())
    for acquire in (ExAcquireResourceSharedLite, ExAcquireSharedWaitForExclusive):
        refused, end = holder(resource, acquire, waits=False)
        end()
        found.append((resource.ActiveEntries, refused))
    got, end = holder(resource, ExAcquireSharedStarveExclusive)
    found.append((resource.ActiveEntries, got))
    end()
    _, sharer = holder(resource, ExAcquireResourceSharedLite)
    found.append(state())
    first()
    pause()
    found.append((*state(), bool(resource.Flag & 0x80)))
    exclusive()
    pause()
    found.append(state())
    sharer()
    found.append(state())
    return left(resource, found)


@RESOURCE.fact([0, 0, 0, 0, True])
def ExReinitializeResourceLite_leaves_it_in_the_list_and_free() -> list[Any]:
    resource = new_resource()
    ExAcquireResourceSharedLite(resource, FALSE)
    found = [ExReinitializeResourceLite(resource), resource.ActiveCount, resource.Flag]
    links = resource.SystemResourcesList
    found += [resource.ContentionCount, links.Flink.Blink == links]
    return left(resource, found)


# Fast mutexes

LEVELS = [PASSIVE_LEVEL, APC_LEVEL]


def new_mutex(level: int) -> Any:
    mutex = FAST_MUTEX()
    RtlFillMemory(mutex, sizeof(FAST_MUTEX), 0x55)
    ExInitializeFastMutex(mutex)
    KeRaiseIrql(level)
    return mutex


def mutex_state(mutex: Any) -> tuple[int, bool, int, int, bool, int]:
    """Count, owned by this thread, contention, old IRQL, normal APCs disabled, IRQL."""
    owned = int(mutex.Owner) == int(KeGetCurrentThread())
    apcs = bool(KeAreApcsDisabled())
    return (mutex.Count, owned, mutex.Contention, mutex.OldIrql, apcs, KeGetCurrentIrql())


@FAST_MUTEXES.fact((1, False, 0, 0x55555555, False, 0))
def an_initialized_fast_mutex_is_free_and_keeps_no_irql() -> Any:
    return mutex_state(new_mutex(PASSIVE_LEVEL))


@FAST_MUTEXES.fact(
    lambda level, routine: [
        True, (0, True, 0, level, False, 1), False, (0, True, 0, level, False, 1),
        (1, False, 0, level, False, level),
    ],
    level=LEVELS, routine=["acquire", "try"],
)  # fmt: skip
def a_fast_mutex_raises_to_apc_level_keeps_the_old_and_is_not_recursive(
    level: int, routine: str
) -> list[Any]:
    mutex = new_mutex(level)
    if routine == "try":
        got = bool(ExTryToAcquireFastMutex(mutex))
    else:
        got = True
        ExAcquireFastMutex(mutex)
    found: list[Any] = [got, mutex_state(mutex), bool(ExTryToAcquireFastMutex(mutex))]
    found.append(mutex_state(mutex))
    ExReleaseFastMutex(mutex)
    return [*found, mutex_state(mutex)]


@FAST_MUTEXES.fact(
    lambda level: [
        (0, True, 0, 0x55555555, False, level), (1, False, 0, 0x55555555, False, level)
    ],
    level=LEVELS,
)  # fmt: skip
def the_unsafe_routines_do_not_touch_the_irql(level: int) -> list[Any]:
    mutex = new_mutex(level)
    ExAcquireFastMutexUnsafe(mutex)
    found = [mutex_state(mutex)]
    ExReleaseFastMutexUnsafe(mutex)
    return [*found, mutex_state(mutex)]


@FAST_MUTEXES.fact([(1, False, 0, 0, False, 1), (1, False, 0, 0, False, 0)])
def an_unsafe_release_leaves_the_level_raised_and_a_safe_one_goes_where_the_mutex_says() -> Any:
    mutex = new_mutex(PASSIVE_LEVEL)
    ExAcquireFastMutex(mutex)
    ExReleaseFastMutexUnsafe(mutex)
    found = [mutex_state(mutex)]
    ExAcquireFastMutexUnsafe(mutex)
    ExReleaseFastMutex(mutex)
    return [*found, mutex_state(mutex)]


@FAST_MUTEXES.fact([True, False, True])
def the_critical_region_shortcut_disables_normal_apcs_while_it_is_held() -> list[bool]:
    mutex = new_mutex(PASSIVE_LEVEL)
    ExEnterCriticalRegionAndAcquireFastMutexUnsafe(mutex)
    found = [bool(KeAreApcsDisabled())]
    ExReleaseFastMutexUnsafeAndLeaveCriticalRegion(mutex)
    return [*found, bool(KeAreApcsDisabled()), mutex.Count == 1]


test_fact = as_tests(RESOURCE, WINE_RESOURCE, FAST_MUTEXES)
