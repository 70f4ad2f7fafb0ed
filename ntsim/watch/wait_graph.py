"""Who waits for whom: the owners of what threads wait for, and circles of them.

Owners come from the bytes of the locks (KMUTANT, FAST_MUTEX, ERESOURCE); a push lock keeps none, so
the recorded acquisitions say who holds it. A thread object is held by its thread, a synchronous
request by the driver that has it: by those threads whose frames have the IRP in a variable. Only
waits without a timeout count, and of waits for one of several objects only those for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from types import FrameType

from ntsim.abi.ex import ERESOURCE, FAST_MUTEX
from ntsim.abi.io import FILE_OBJECT, IRP
from ntsim.abi.ke import KMUTANT
from ntsim.hw.mmu import UnreadableMemory
from ntsim.nt.events import Event, LockAcquired, LockReleased, WaitStarted
from ntsim.nt.ex import push_lock
from ntsim.nt.ex.fast_mutex import WR_FAST_MUTEX, WR_GUARDED_MUTEX
from ntsim.nt.ex.resource import WR_RESOURCE, owner_entries
from ntsim.nt.io.cancel import thread_irps
from ntsim.nt.ke.thread import WAITING, Thread
from ntsim.nt.ke.wait import MUTANT, OBJECT_NAMES, THREAD, header_of
from ntsim.nt.kernel import Kernel
from ntsim.nt.rtl import lists
from ntsim.watch.frozen import stack_of
from ntsim.watch.source import Sources

_FAST_MUTEX_EVENT = FAST_MUTEX.offset_of("Event")
_FILE_LOCK = FILE_OBJECT.offset_of("Lock")
_RESOURCE_LINK = ERESOURCE.offset_of("SystemResourcesList")


@dataclass(frozen=True, slots=True)
class Held:
    """A thread that has what another waits for, and the lock that it is, if it is one."""

    thread: Thread
    how: str
    lock: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a thread waits for: named for people, with those who could let it go on."""

    what: str
    holders: tuple[Held, ...] = ()


class WaitGraph:
    """The waits of a machine that stands still."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.waiting = [each for each in nt.ke.threads.values() if each.v.State == WAITING]
        self.by_text = {each.text: each for each in nt.ke.threads.values()}

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """What is recorded; made when it is first needed, because it is long."""
        return self.nt.recorder.events()

    # What a thread waits for

    def wanted(self, thread: Thread) -> Wanted | None:
        """What a thread waits for if that has owners; None for a wait that may end by itself.

        None, too, where the objects are damaged.
        """
        try:
            with self.nt.mmu.looking():
                return self._wanted(thread)
        except UnreadableMemory:
            return None

    def _wanted(self, thread: Thread) -> Wanted | None:
        v = thread.v
        objects = [int(o) for o in self.nt.ke.waited_objects(thread, v.WaitBlockCount)]
        if len(objects) != 1 or int(thread.k.Timer) in self.nt.ke.timers.live:
            return None
        (address,) = objects
        if v.WaitReason in (WR_FAST_MUTEX, WR_GUARDED_MUTEX):
            return self._fast_mutex(address - _FAST_MUTEX_EVENT, v.WaitReason)
        if v.WaitReason == WR_RESOURCE:
            return self._resource(address)
        if v.WaitReason == push_lock.WR_PUSH_LOCK:
            return self._push_lock(thread)
        kind = header_of(self.nt, address)._v.Type & 0x7F
        if kind == MUTANT:
            owner = KMUTANT.at(self.nt.mmu, address)._v.OwnerThread
            return Wanted(f"mutex {address:#x}", self._owners(address, [owner]))
        if kind == THREAD:
            other = self.nt.ke.threads.get(address)
            holders = (Held(other, "has not ended"),) if other is not None else ()
            return Wanted(f"the end of thread {other.text if other else ''}", holders)
        return self._request(thread, address, kind)

    def _fast_mutex(self, mutex: int, reason: int) -> Wanted:
        name = "guarded mutex" if reason == WR_GUARDED_MUTEX else "fast mutex"
        owner = FAST_MUTEX.at(self.nt.mmu, mutex)._v.Owner
        return Wanted(f"{name} {mutex:#x}", self._owners(mutex, [owner]))

    def _resource(self, waiters: int) -> Wanted | None:
        nt = self.nt
        for entry in lists.entries(nt.mmu, nt.ex.resource_list):
            resource = ERESOURCE.at(nt.mmu, entry - _RESOURCE_LINK)
            if waiters in (resource._v.ExclusiveWaiters, resource._v.SharedWaiters):
                owners = [each._v.OwnerThread for each in owner_entries(resource)]
                what = f"resource {int(resource):#x}"
                return Wanted(what, self._owners(int(resource), owners))
        return None

    def _push_lock(self, thread: Thread) -> Wanted | None:
        """The lock that the kernel's own frame waits for: nothing in memory leads to it."""
        frame = thread.greenlet.gr_frame if thread.greenlet is not None else None
        while frame is not None and frame.f_code is not push_lock.wait.__code__:
            frame = frame.f_back
        if frame is None:
            return None
        lock = int(frame.f_locals["lock"])
        owners = {each.thread for each in self._acquisitions(lock)}
        threads = [each.va for text, each in self.by_text.items() if text in owners]
        return Wanted(f"push lock {lock:#x}", self._owners(lock, threads))

    def _request(self, thread: Thread, address: int, kind: int) -> Wanted | None:
        """The request whose end sets the event, or the lock of a synchronous file."""
        nt = self.nt
        for irp in thread_irps(nt, thread):
            file = int(irp.Tail.Overlay.OriginalFileObject)
            if address == irp._v.UserEvent or file <= address < file + FILE_OBJECT.size:
                return Wanted(f"IRP {int(irp):#x}", tuple(self._in_hand(irp, thread)))
        for other in self.waiting:
            for irp in thread_irps(nt, other):
                if address == int(irp.Tail.Overlay.OriginalFileObject) + _FILE_LOCK:
                    held = Held(other, f"has IRP {int(irp):#x} under way on that file")
                    return Wanted("the lock of a file opened for synchronous requests", (held,))
        return Wanted(f"{OBJECT_NAMES.get(kind, 'object')} {address:#x}")

    # Who has it

    def _owners(self, lock: int, owners: list[int]) -> tuple[Held, ...]:
        threads = (self.nt.ke.threads.get(owner & ~3) for owner in owners)
        found = (each for each in threads if each is not None)
        return tuple(Held(each, "holds it", lock) for each in found)

    def _acquisitions(self, lock: int) -> list[LockAcquired]:
        """The acquisitions of a lock that nothing has undone, oldest first."""
        held: list[LockAcquired] = []
        for event in self.events:
            if not isinstance(event, LockAcquired | LockReleased) or event.lock != lock:
                continue
            if isinstance(event, LockReleased):
                mine = next((h for h in reversed(held) if h.thread == event.thread), None)
                if mine is not None or held:
                    held.remove(mine or held[-1])
            else:
                held.append(event)
        return held

    def since(self, held: Held) -> str:
        """` since` the place where a thread got a lock that it holds; empty if not recorded."""
        mine = [e for e in self._acquisitions(held.lock) if e.thread == held.thread.text]
        place = (mine[-1].where or self._wait_before(mine[-1])) if mine else ""
        return f" since {place}" if place else ""

    def _wait_before(self, acquired: Event) -> str:
        """A wait that another thread's release satisfied: where it began."""
        place = ""
        for event in self.events:
            if event is acquired:
                break
            if isinstance(event, WaitStarted) and event.thread == acquired.thread:
                place = event.where
        return place

    def _in_hand(self, irp: IRP, sender: Thread) -> Iterator[Held]:
        """Waiting threads of drivers that have an IRP in a variable."""
        for thread in self.waiting:
            if thread is sender or thread.greenlet is None:
                continue
            place = self._variable(thread.greenlet.gr_frame, int(irp))
            if place:
                yield Held(thread, f"has it in {place}")

    def _variable(self, frame: FrameType | None, value: int) -> str:
        while frame is not None:
            if frame.f_code.co_filename in self.nt.host.files:
                local = frame.f_locals.items()
                names = [key for key, held in local if isinstance(held, IRP) and held == value]
                names += [key for key, held in local if isinstance(held, int) and held == value]
                if names:
                    return f"{names[0]} of {frame.f_code.co_name}"
            frame = frame.f_back
        return ""

    # Circles

    def circles(self) -> list[list[tuple[Thread, Wanted, Held]]]:
        """Each circle of threads that wait for each other, once: (thread, wants, from whom)."""
        found: list[list[tuple[Thread, Wanted, Held]]] = []
        done: set[int] = set()
        for thread in self.waiting:
            path: list[tuple[Thread, Wanted, Held]] = []
            self._follow(thread, path, done, found)
        return found

    def _follow(
        self,
        thread: Thread,
        path: list[tuple[Thread, Wanted, Held]],
        done: set[int],
        found: list[list[tuple[Thread, Wanted, Held]]],
    ) -> None:
        for index, (each, _, _) in enumerate(path):
            if each is thread:
                found.append(path[index:])
                return
        if thread.va in done or thread.v.State != WAITING:
            return
        wanted = self.wanted(thread)
        for held in wanted.holders if wanted is not None else ():
            assert wanted is not None
            self._follow(held.thread, [*path, (thread, wanted, held)], done, found)
        done.add(thread.va)


def deadlock_text(nt: Kernel) -> str:
    """The first circle of threads in words; empty if there is none.

    `A and B wait for each other: ...`, a sentence for each: what it wants, where, and who has it.
    """
    graph = WaitGraph(nt)
    circle = next(iter(graph.circles()), None)
    if circle is None:
        return ""
    names = [name(thread) for thread, _, _ in circle]
    if len(names) == 1:
        head = f"{names[0]} waits for itself"
    else:
        head = f"{', '.join(names[:-1])} and {names[-1]} wait for each other"
    sources = Sources(nt)
    parts = []
    for thread, wanted, held in circle:
        place = sources.place(stack_of(nt, thread.greenlet))
        at = f" at {place}" if place else ""
        parts.append(f"{name(thread)} waits{at} for {holder_text(graph, thread, wanted, held)}")
    return f"{head}: {'. '.join(parts)}"


def holder_text(graph: WaitGraph, thread: Thread, wanted: Wanted, held: Held) -> str:
    """`mutex 0x...; thread B holds it since bad.py:12 worker`."""
    whom = "it" if held.thread is thread else name(held.thread)
    return f"{wanted.what}; {whom} {held.how}{graph.since(held)}"


def name(thread: Thread) -> str:
    """`app.exe thread 0010.0014`; a thread of the System process without the process."""
    process = "" if thread.user is None else f"{thread.process.name} "
    return f"{process}thread {thread.text}"


def holders_text(graph: WaitGraph, thread: Thread) -> list[str]:
    """One line for each thread that has what this one waits for."""
    wanted = graph.wanted(thread)
    held_by = () if wanted is None else wanted.holders
    return [holder_text(graph, thread, wanted, held) for held in held_by if wanted is not None]
