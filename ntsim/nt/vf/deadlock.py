"""Deadlock detection: the order in which locks are acquired, and who holds them.

Each acquisition while others are held is an edge from each of those to the new lock. An edge that
closes a circle is a lock order that can deadlock, whether it did this time or not: 0x1001, before
the acquisition. Edges that another lock held each time keeps apart are no deadlock. DPCs have
held locks of their own. A lock tried without waiting makes no edge. Source: WDK "Deadlock
Detection"; Bug Check 0xC4, 0x1000 to 0x100B.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ntsim.abi.ex import ERESOURCE, FAST_MUTEX
from ntsim.abi.ke import KEVENT, KMUTANT
from ntsim.nt.ke.wait import MUTANT, SYNCHRONIZATION_EVENT, header_of
from ntsim.nt.vf.hooks import after, before
from ntsim.nt.vf.notes import Moment, Note

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier

SPIN, QUEUED, FAST, MUTEX, RESOURCE = (
    "spin lock", "queued spin lock", "fast mutex", "mutex", "resource"
)  # fmt: skip
SIZES = {FAST: FAST_MUTEX.size, MUTEX: KMUTANT.size, RESOURCE: ERESOURCE.size}
Owner = tuple[str, int]


@dataclass(slots=True)
class Hold:
    """A lock that somebody holds, `count` times."""

    lock: int
    kind: str
    at: Moment
    shared: bool = False
    count: int = 1


@dataclass(slots=True)
class Edge:
    """`second` was acquired while `first` was held, and `guards` were held besides."""

    first: int
    second: int
    guards: frozenset[int]
    held: Moment
    taken: Moment


@dataclass(slots=True)
class Locks:
    """Every lock that verified drivers have used on this machine."""

    kinds: dict[int, str] = field(default_factory=dict)
    initialized: dict[int, Moment] = field(default_factory=dict)
    held: dict[Owner, list[Hold]] = field(default_factory=dict)
    edges: dict[int, dict[int, list[Edge]]] = field(default_factory=dict)

    def forget(self, start: int, end: int) -> None:
        """The memory from `start` to `end` is going to be something else."""
        for lock in [each for each in self.initialized if start <= each < end]:
            del self.initialized[lock]
        for lock in [each for each in self.kinds if start <= each < end]:
            del self.kinds[lock]
            self.edges.pop(lock, None)
            for following in self.edges.values():
                following.pop(lock, None)


def locks_of(vf: Verifier) -> Locks:
    found: Locks = vf.part(Locks)
    return found


def owner_of(nt: Kernel) -> Owner:
    """Who runs: a DPC on a processor, or a thread."""
    number = nt.il.current.number
    if nt.prcb[number]._v.DpcRoutineActive:
        return "DPC", number
    return "thread", nt.thread.va


def holds_of(locks: Locks, nt: Kernel) -> list[Hold]:
    """What the running code holds; a thread that has ended leaves nothing to the next in its
    place."""
    what, number = owner_of(nt)
    holds = locks.held.setdefault((what, number), [])
    if what == "thread":
        holds[:] = [hold for hold in holds if hold.at.thread == nt.thread.text]
    return holds


def find(holds: list[Hold], lock: int) -> Hold | None:
    return next((hold for hold in holds if hold.lock == lock), None)


def acquiring(
    vf: Verifier, nt: Kernel, lock: int, kind: str, *, waits: bool = True, shared: bool = False
) -> None:
    """Before the routine runs: may this lock be acquired here?"""
    locks = locks_of(vf)
    known = locks.kinds.get(lock)
    if known is not None and {known, kind} == {SPIN, QUEUED}:
        why = f"The {known} at {lock:#x} is acquired with {vf.routine}, of another kind of lock."
        vf.violation(0x1008, lock, why=why)
    unseen = kind in SIZES and lock not in locks.initialized
    if unseen and not (kind == FAST and vi_looks_initialized(nt, lock)):
        why = f"The {kind} at {lock:#x} is acquired and was never initialized."
        vf.violation(0x1002, lock, why=why)
    holds = holds_of(locks, nt)
    own = find(holds, lock)
    if own is not None and waits and vi_never_ends(own, kind, shared):
        how = "shared" if own.shared else "already"
        why = f"The {kind} at {lock:#x} is acquired by {vf.routine}; its caller holds it {how} and "
        notes = [Note(f"The {kind} at {lock:#x} was acquired.", own.at)]
        vf.violation(0x1000, lock, why=why + "would wait for itself.", notes=notes)
    if own is None and waits:
        vi_check_order(vf, locks, holds, lock, kind)


def vi_looks_initialized(nt: Kernel, lock: int) -> bool:
    """Whether a fast mutex has its event: the headers initialize it in the driver's own code, of
    which only the call of KeInitializeEvent can be seen (wdm.h, ExInitializeFastMutex)."""
    event = FAST_MUTEX.at(nt.mmu, lock).Event._v
    return (event.Header_Type, event.Header_Size) == (SYNCHRONIZATION_EVENT, KEVENT.size // 4)


def vi_never_ends(own: Hold, kind: str, shared: bool) -> bool:
    """Whether the owner of a lock waits for ever when it acquires it again."""
    if kind == RESOURCE:
        return own.shared and not shared
    return kind != MUTEX


def vi_check_order(vf: Verifier, locks: Locks, holds: list[Hold], lock: int, kind: str) -> None:
    """Add the edges of an acquisition; stop if one closes a circle."""
    if not holds:
        return
    now: Moment | None = None
    for hold in holds:
        guards = frozenset(each.lock for each in holds if each is not hold)
        following = locks.edges.setdefault(hold.lock, {})
        if any(edge.guards <= guards for edge in following.get(lock, ())):
            continue
        now = now or vf.moment()
        edge = Edge(hold.lock, lock, guards, hold.at, now)
        circle = circle_of(locks, edge)
        if circle is not None:
            vi_report_circle(vf, locks, circle, kind)
        following.setdefault(lock, []).append(edge)


def circle_of(locks: Locks, edge: Edge) -> list[Edge] | None:
    """A way back from the edge's second lock to its first that nothing guards; the edge first."""
    way: list[Edge] = [edge]
    seen: set[int] = set()

    def go(lock: int) -> bool:
        seen.add(lock)
        for following in locks.edges.get(lock, {}).values():
            for step in following:
                if any(step.guards & each.guards for each in way):
                    continue
                way.append(step)
                if step.second == edge.first or (step.second not in seen and go(step.second)):
                    return True
                way.pop()
        return False

    return way if go(edge.second) else None


def vi_report_circle(vf: Verifier, locks: Locks, circle: list[Edge], kind: str) -> None:
    """0x1001: the steps of the circle, each with the two stacks that acquired its locks."""
    notes = []
    for edge in [*circle[1:], circle[0]]:
        first, second = (f"{locks.kinds.get(x, kind)} {x:#x}" for x in (edge.first, edge.second))
        notes.append(Note(f"The {first} was acquired.", edge.held))
        ending = "is about to be acquired" if edge is circle[0] else "was acquired"
        notes.append(Note(f"With it held, the {second} {ending}.", edge.taken))
    lock = circle[0].second
    names = " -> ".join(f"{edge.first:#x}" for edge in circle)
    why = f"Locks are acquired in orders that can deadlock: {names} -> {circle[0].first:#x}."
    vf.violation(0x1001, lock, why=why, notes=notes)


def acquired(vf: Verifier, nt: Kernel, lock: int, kind: str, shared: bool = False) -> None:
    """After the routine: the caller holds the lock."""
    locks = locks_of(vf)
    locks.kinds.setdefault(lock, kind)
    holds = holds_of(locks, nt)
    own = find(holds, lock)
    if own is not None:
        own.count += 1
    else:
        holds.append(Hold(lock, kind, vf.moment(), shared))


def releasing(vf: Verifier, nt: Kernel, lock: int, kind: str) -> None:
    """Before the routine: is it the caller's to release?"""
    locks = locks_of(vf)
    holds = holds_of(locks, nt)
    own = find(holds, lock)
    if own is None:
        vi_not_held(vf, nt, locks, lock, kind)
        return
    if {own.kind, kind} == {SPIN, QUEUED}:
        why = f"The {own.kind} at {lock:#x} is released with {vf.routine}, of another kind of lock."
        vf.violation(0x1009, lock, why=why, notes=[Note("It was acquired.", own.at)])
    own.count -= 1
    if not own.count:
        holds.remove(own)


def vi_not_held(vf: Verifier, nt: Kernel, locks: Locks, lock: int, kind: str) -> None:
    """0x1004: somebody else's; 0x1007: nobody's."""
    for (what, number), holds in locks.held.items():
        other = find(holds, lock)
        if other is not None and what == "thread":
            if kind in (SPIN, QUEUED):
                return  # a DPC, or another thread at DISPATCH_LEVEL, may release for its owner
            why = f"The {kind} at {lock:#x} is released by a thread that did not acquire it."
            notes = [Note("It was acquired.", other.at)]
            vf.violation(0x1004, lock, number, nt.thread.va, why=why, notes=notes)
        elif other is not None:
            return
    if lock in locks.kinds or lock in locks.initialized:
        why = f"The {kind} at {lock:#x} is released and nobody has acquired it."
        vf.violation(0x1007, lock, why=why)


def initializing(vf: Verifier, nt: Kernel, lock: int, kind: str) -> None:
    """0x1005: it is initialized already, and its memory was not freed since."""
    locks = locks_of(vf)
    before_this = locks.initialized.get(lock)
    thread = nt.thread
    on_stack = thread.stack_limit <= lock < thread.stack_base
    if before_this is not None and not on_stack:
        why = f"The {kind} at {lock:#x} is initialized a second time."
        notes = [Note("It was initialized.", before_this)]
        vf.violation(0x1005, lock, why=why, notes=notes)
    if on_stack:
        locks.forget(lock, lock + 1)
    locks.initialized[lock] = vf.moment()


# Spin locks

ACQUIRE = (
    "KeAcquireSpinLock KeAcquireSpinLockRaiseToDpc KeAcquireSpinLockAtDpcLevel "
    "KeAcquireSpinLockRaiseToSynch"
)


@before("deadlock", ACQUIRE)
def vi_spin(vf: Verifier, nt: Kernel, SpinLock: Any, *rest: Any) -> None:
    acquiring(vf, nt, int(SpinLock), SPIN)


@after("deadlock", ACQUIRE)
def spin_taken(vf: Verifier, result: Any, nt: Kernel, SpinLock: Any, *rest: Any) -> None:
    acquired(vf, nt, int(SpinLock), SPIN)


@after("deadlock", "KeTryToAcquireSpinLockAtDpcLevel")
def spin_tried(vf: Verifier, result: Any, nt: Kernel, SpinLock: Any) -> None:
    if result:
        acquired(vf, nt, int(SpinLock), SPIN)


@before("deadlock", "KeReleaseSpinLock KeReleaseSpinLockFromDpcLevel")
def vi_spin_release(vf: Verifier, nt: Kernel, SpinLock: Any, *rest: Any) -> None:
    releasing(vf, nt, int(SpinLock), SPIN)


QUEUED_ACQUIRE = "KeAcquireInStackQueuedSpinLock KeAcquireInStackQueuedSpinLockAtDpcLevel"


@before("deadlock", QUEUED_ACQUIRE)
def vi_queued(vf: Verifier, nt: Kernel, SpinLock: Any, LockHandle: Any) -> None:
    acquiring(vf, nt, int(SpinLock), QUEUED)


@after("deadlock", QUEUED_ACQUIRE)
def queued_taken(vf: Verifier, result: Any, nt: Kernel, SpinLock: Any, LockHandle: Any) -> None:
    acquired(vf, nt, int(SpinLock), QUEUED)


@before("deadlock", "KeReleaseInStackQueuedSpinLock KeReleaseInStackQueuedSpinLockFromDpcLevel")
def vi_queued_release(vf: Verifier, nt: Kernel, LockHandle: Any) -> None:
    releasing(vf, nt, int(LockHandle._v.LockQueue_Lock) & ~3, QUEUED)


# Fast and guarded mutexes

FAST_ACQUIRE = (
    "ExAcquireFastMutex ExAcquireFastMutexUnsafe KeAcquireGuardedMutex KeAcquireGuardedMutexUnsafe"
)
FAST_RELEASE = (
    "ExReleaseFastMutex ExReleaseFastMutexUnsafe KeReleaseGuardedMutex KeReleaseGuardedMutexUnsafe"
)


@before("deadlock", "ExInitializeFastMutex KeInitializeGuardedMutex")
def vi_fast_initialize(vf: Verifier, nt: Kernel, Mutex: Any) -> None:
    initializing(vf, nt, int(Mutex), FAST)


@before("deadlock", FAST_ACQUIRE)
def vi_fast(vf: Verifier, nt: Kernel, Mutex: Any) -> None:
    acquiring(vf, nt, int(Mutex), FAST)


@after("deadlock", FAST_ACQUIRE)
def fast_taken(vf: Verifier, result: Any, nt: Kernel, Mutex: Any) -> None:
    acquired(vf, nt, int(Mutex), FAST)


@after("deadlock", "ExTryToAcquireFastMutex KeTryToAcquireGuardedMutex")
def fast_tried(vf: Verifier, result: Any, nt: Kernel, Mutex: Any) -> None:
    if result:
        acquired(vf, nt, int(Mutex), FAST)


@before("deadlock", FAST_RELEASE)
def vi_fast_release(vf: Verifier, nt: Kernel, Mutex: Any) -> None:
    releasing(vf, nt, int(Mutex), FAST)


# Mutexes


@before("deadlock", "KeInitializeMutex KeInitializeMutant")
def vi_mutex_initialize(vf: Verifier, nt: Kernel, Mutex: Any, *rest: Any) -> None:
    initializing(vf, nt, int(Mutex), MUTEX)


def is_mutex(nt: Kernel, address: int) -> bool:
    """Whether a dispatcher object is a mutex of a driver."""
    return bool(header_of(nt, address)._v.Type & 0x7F == MUTANT)


@before("deadlock", "KeWaitForSingleObject")
def vi_mutex(
    vf: Verifier, nt: Kernel, Object: int, Reason: int, Mode: int, Alertable: int, Timeout: Any
) -> None:
    if int(Object) in locks_of(vf).initialized and is_mutex(nt, int(Object)):
        acquiring(vf, nt, int(Object), MUTEX, waits=not Timeout)


@after("deadlock", "KeWaitForSingleObject")
def mutex_taken(vf: Verifier, result: int, nt: Kernel, Object: int, *rest: Any) -> None:
    known = int(Object) in locks_of(vf).initialized
    if known and result in (0, 0x80) and is_mutex(nt, int(Object)):
        acquired(vf, nt, int(Object), MUTEX)


@before("deadlock", "KeReleaseMutex KeReleaseMutant")
def vi_mutex_release(vf: Verifier, nt: Kernel, Mutex: Any, *rest: Any) -> None:
    if int(Mutex) in locks_of(vf).initialized:
        releasing(vf, nt, int(Mutex), MUTEX)


# ERESOURCE

SHARED = (
    "ExAcquireResourceSharedLite ExAcquireSharedStarveExclusive ExAcquireSharedWaitForExclusive"
)
ENTER = "ExEnterCriticalRegionAndAcquireResource"


@before("deadlock", "ExInitializeResourceLite")
def vi_resource_initialize(vf: Verifier, nt: Kernel, Resource: Any) -> None:
    initializing(vf, nt, int(Resource), RESOURCE)


@before("deadlock", "ExDeleteResourceLite")
def vi_resource_delete(vf: Verifier, nt: Kernel, Resource: Any) -> None:
    vi_going(vf, int(Resource), int(Resource) + ERESOURCE.size)


@before("deadlock", "ExAcquireResourceExclusiveLite")
def vi_exclusive(vf: Verifier, nt: Kernel, Resource: Any, Wait: int) -> None:
    acquiring(vf, nt, int(Resource), RESOURCE, waits=bool(Wait))


@before("deadlock", SHARED)
def vi_shared(vf: Verifier, nt: Kernel, Resource: Any, Wait: int) -> None:
    acquiring(vf, nt, int(Resource), RESOURCE, waits=bool(Wait), shared=True)


@after("deadlock", "ExAcquireResourceExclusiveLite")
def exclusive_taken(vf: Verifier, result: int, nt: Kernel, Resource: Any, Wait: int) -> None:
    if result:
        acquired(vf, nt, int(Resource), RESOURCE)


@after("deadlock", SHARED)
def shared_taken(vf: Verifier, result: int, nt: Kernel, Resource: Any, Wait: int) -> None:
    if result:
        acquired(vf, nt, int(Resource), RESOURCE, shared=True)


@before("deadlock", f"{ENTER}Exclusive {ENTER}Shared")
def vi_enter(vf: Verifier, nt: Kernel, Resource: Any) -> None:
    acquiring(vf, nt, int(Resource), RESOURCE, shared=vf.routine.endswith("Shared"))


@after("deadlock", f"{ENTER}Exclusive {ENTER}Shared")
def entered(vf: Verifier, result: Any, nt: Kernel, Resource: Any) -> None:
    acquired(vf, nt, int(Resource), RESOURCE, shared=vf.routine.endswith("Shared"))


@before("deadlock", "ExReleaseResourceLite ExReleaseResourceAndLeaveCriticalRegion")
def vi_resource_release(vf: Verifier, nt: Kernel, Resource: Any) -> None:
    releasing(vf, nt, int(Resource), RESOURCE)


# Memory and threads that go


def vi_going(vf: Verifier, start: int, end: int) -> None:
    """0x100B: a lock in memory that is freed, or a deleted lock, is held."""
    locks = locks_of(vf)
    for (what, number), holds in locks.held.items():
        for hold in holds:
            if start <= hold.lock < end:
                why = f"The {hold.kind} at {hold.lock:#x} is deleted or freed and is still held."
                owner = number if what == "thread" else 0
                notes = [Note("It was acquired.", hold.at)]
                vf.violation(0x100B, hold.lock, owner, why=why, notes=notes)
    locks.forget(start, end)


@before("deadlock", "ExFreePoolWithTag ExFreePool")
def vi_freed(vf: Verifier, nt: Kernel, P: int, *rest: Any) -> None:
    vi_going(vf, P, P + vf.block_size(P))


@before("deadlock", "IoDeleteDevice")
def vi_device_deleted(vf: Verifier, nt: Kernel, DeviceObject: Any) -> None:
    vi_going(vf, int(DeviceObject), int(DeviceObject) + DeviceObject._v.Size)


@before(
    "deadlock", "ExFreeToNPagedLookasideList ExFreeToPagedLookasideList ExFreeToLookasideListEx"
)
def vi_entry_freed(vf: Verifier, nt: Kernel, Lookaside: Any, Entry: int) -> None:
    vi_going(vf, int(Entry), int(Entry) + Lookaside.L.Size)


@before("deadlock", "PsTerminateSystemThread")
def vi_thread_ends(vf: Verifier, nt: Kernel, *rest: Any) -> None:
    """0x100A: the thread owns a lock."""
    holds = locks_of(vf).held.get(owner_of(nt), [])
    if holds:
        hold = holds[-1]
        why = f"A thread ends that holds the {hold.kind} at {hold.lock:#x}."
        vf.violation(0x100A, nt.thread.va, why=why, notes=[Note("It was acquired.", hold.at)])


@before("deadlock", "DriverUnload")
def vi_driver_gone(vf: Verifier, nt: Kernel, driver: Any) -> None:
    image = driver.image
    locks_of(vf).forget(image.base, image.base + image.size)
