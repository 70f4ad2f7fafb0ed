"""Events, mutexes and semaphores. Source: WDK "Kernel Dispatcher Objects"; kmtests KeEvent.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.ke import KEVENT, KMUTANT
from ntsim.abi.scalars import BOOLEAN, EVENT_TYPE, KPRIORITY, LONG, ULONG
from ntsim.nt.events import LockReleased
from ntsim.nt.exports import export
from ntsim.nt.ke.wait import (
    MUTANT,
    MUTANT_ABANDONED,
    SEMAPHORE,
    ki_lock_object,
    ki_prepare_wait,
    ki_signal,
)
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.abi.ke import PKEVENT, PKMUTANT, PKSEMAPHORE
    from ntsim.nt.kernel import Kernel

STATUS_MUTANT_NOT_OWNED = 0xC000_0046
STATUS_ABANDONED = 0x80
STATUS_SEMAPHORE_LIMIT_EXCEEDED = 0xC000_0047
MUTANT_INCREMENT = 1
_WAIT_LIST = KEVENT.offset_of("Header.WaitListHead")
_MUTANT_ENTRY = KMUTANT.offset_of("MutantListEntry")


@export(irql="any")
def KeInitializeEvent(nt: Kernel, Event: PKEVENT, Type: EVENT_TYPE, State: BOOLEAN) -> None:
    """Make a notification (0) or synchronization (1) event. Source: WDK KeInitializeEvent."""
    v = Event._v
    v.Header_Lock = 0
    v.Header_Type = Type
    v.Header_Size = 6
    v.Header_SignalState = 1 if State else 0
    lists.initialize(nt.mmu, int(Event.Header.WaitListHead))


@export(irql="<= DISPATCH, or <= APC if Wait is TRUE")
def KeSetEvent(nt: Kernel, Event: PKEVENT, Increment: KPRIORITY, Wait: BOOLEAN) -> LONG:
    """Signal the event, waking one or all waiters with priority boost Increment; the old state.

    With Wait TRUE the caller promises an immediate wait: the routine returns at DISPATCH_LEVEL and
    the wait lowers. Source: WDK KeSetEvent; kmtests KeEvent.c.
    """
    if Wait:
        ki_prepare_wait(nt, "KeSetEvent")
    if Event >> 12 not in nt.mmu.raw_pages:
        ki_lock_object(nt, Event)
    v = Event._v
    old: int = v.Header_SignalState
    v.Header_SignalState = 1
    if not old:
        nt.il.progress += 1
        if v.Header_WaitListHead_Flink != int(Event) + _WAIT_LIST:
            ki_signal(nt, Event.Header, Increment)
    return old


@export(irql="<= DISPATCH")
def KePulseEvent(nt: Kernel, Event: PKEVENT, Increment: KPRIORITY, Wait: BOOLEAN) -> LONG:
    """Wake who waits now and leave the event not signalled; the old state. Source: ntifs.h."""
    old = KeSetEvent(nt, Event, Increment, Wait)
    Event._v.Header_SignalState = 0
    return old


@export(irql="<= DISPATCH")
def KeResetEvent(nt: Kernel, Event: PKEVENT) -> LONG:
    """Not signalled; the old state. Source: WDK KeResetEvent."""
    ki_lock_object(nt, Event)
    old: int = Event._v.Header_SignalState
    Event._v.Header_SignalState = 0
    return old


@export(irql="<= DISPATCH")
def KeClearEvent(nt: Kernel, Event: PKEVENT) -> None:
    """Not signalled. Source: WDK KeClearEvent."""
    Event._v.Header_SignalState = 0


@export(irql="<= DISPATCH")
def KeReadStateEvent(nt: Kernel, Event: PKEVENT) -> LONG:
    """The signal state. Source: WDK KeReadStateEvent."""
    state: int = Event._v.Header_SignalState
    return state


@export(irql="any")
def KeInitializeSemaphore(nt: Kernel, Semaphore: PKSEMAPHORE, Count: LONG, Limit: LONG) -> None:
    """A semaphore with Count of at most Limit. Source: WDK KeInitializeSemaphore."""
    v = Semaphore._v
    v.Header_Lock = 0
    v.Header_Type = SEMAPHORE
    v.Header_Size = 8
    v.Header_SignalState = Count
    v.Limit = Limit
    lists.initialize(nt.mmu, int(Semaphore.Header.WaitListHead))


@export(irql="<= DISPATCH, or <= APC if Wait is TRUE")
def KeReleaseSemaphore(
    nt: Kernel, Semaphore: PKSEMAPHORE, Increment: KPRIORITY, Adjustment: LONG, Wait: BOOLEAN
) -> LONG:
    """Add Adjustment to the count; returns the old one.

    Past the limit, or not upwards, STATUS_SEMAPHORE_LIMIT_EXCEEDED is raised. Source: WDK.
    """
    ki_lock_object(nt, Semaphore)
    v = Semaphore._v
    old: int = v.Header_SignalState
    if not old < old + Adjustment <= v.Limit:
        nt.raise_status(STATUS_SEMAPHORE_LIMIT_EXCEEDED, "KeReleaseSemaphore")
    if Wait:
        ki_prepare_wait(nt, "KeReleaseSemaphore")
    v.Header_SignalState = old + Adjustment
    nt.il.progress += 1
    ki_signal(nt, Semaphore.Header, Increment)
    return old


@export(irql="<= DISPATCH")
def KeReadStateSemaphore(nt: Kernel, Semaphore: PKSEMAPHORE) -> LONG:
    """The count. Source: WDK KeReadStateSemaphore."""
    count: int = Semaphore._v.Header_SignalState
    return count


@export(irql="any")
def KeInitializeMutex(nt: Kernel, Mutex: PKMUTANT, Level: ULONG) -> None:
    """A free mutex, whose ownership disables normal kernel APCs; Level is ignored. Source: WDK."""
    ke_initialize_mutant(nt, Mutex, owned=False, apc_disable=1)


def ke_initialize_mutant(nt: Kernel, mutant: PKMUTANT, owned: bool, apc_disable: int) -> None:
    """A mutant is what user mode calls a mutex: without the APC effect of the kernel's."""
    v = mutant._v
    v.Header_Lock = 0
    v.Header_Type = MUTANT
    v.Header_Size = 0xE
    v.Header_SignalState = 1
    v.OwnerThread = 0
    v.MutantFlags = 0
    v.ApcDisable = apc_disable
    lists.initialize(nt.mmu, int(mutant.Header.WaitListHead))
    if owned:
        v.Header_SignalState = 0
        v.OwnerThread = nt.thread.va
        lists.insert_tail(nt.mmu, int(nt.thread.k.MutantListHead), int(mutant) + _MUTANT_ENTRY)


@export(irql="any")
def KeInitializeMutant(nt: Kernel, Mutant: PKMUTANT, InitialOwner: BOOLEAN) -> None:
    """What user mode calls a mutex, owned by the current thread if asked for.

    Exported, in no header. Source: kmtests KeMutex.c.
    """
    ke_initialize_mutant(nt, Mutant, owned=bool(InitialOwner), apc_disable=0)


@export(irql="<= DISPATCH")
def KeReleaseMutant(
    nt: Kernel, Mutant: PKMUTANT, Increment: KPRIORITY, Abandoned: BOOLEAN, Wait: BOOLEAN
) -> LONG:
    """KeReleaseMutex with a priority boost of one's own; Abandoned frees it whoever owns it.

    Exported, in no header. Source: kmtests KeMutex.c; Windows Internals 7, part 2, chapter 8.
    """
    if not Abandoned:
        return ke_release_mutant(nt, Mutant, Increment, Wait, "KeReleaseMutant")
    ki_lock_object(nt, Mutant)
    v = Mutant._v
    old: int = v.Header_SignalState
    owner = nt.ke.threads.get(v.OwnerThread)
    v.Header_SignalState, v.MutantFlags = 1, v.MutantFlags | MUTANT_ABANDONED
    if owner is not None:
        ke_free_mutant(nt, Mutant, owner, Increment)
    return old


@export(irql="<= DISPATCH")
def KeReleaseMutex(nt: Kernel, Mutex: PKMUTANT, Wait: BOOLEAN) -> LONG:
    """Release one acquisition; returns the old state, 0 when this freed it.

    A thread that does not own it gets STATUS_MUTANT_NOT_OWNED (or STATUS_ABANDONED) raised.
    Source: WDK KeReleaseMutex.
    """
    return ke_release_mutant(nt, Mutex, MUTANT_INCREMENT, Wait, "KeReleaseMutex")


def ke_release_mutant(nt: Kernel, mutant: PKMUTANT, boost: int, wait: int, routine: str) -> int:
    ki_lock_object(nt, mutant)
    v = mutant._v
    thread = nt.thread
    if v.OwnerThread != thread.va:
        code = STATUS_ABANDONED if v.MutantFlags & MUTANT_ABANDONED else STATUS_MUTANT_NOT_OWNED
        nt.raise_status(code, f"{routine} by a thread that does not own it")
    if wait:
        ki_prepare_wait(nt, routine)
    old: int = v.Header_SignalState
    v.Header_SignalState = old + 1
    if old + 1 == 1:
        ke_free_mutant(nt, mutant, thread, boost)
    return old


def ke_free_mutant(nt: Kernel, mutant: PKMUTANT, thread: object, boost: int) -> None:
    """The last acquisition was released: hand it on, and let the owner's APCs come again."""
    v = mutant._v
    lists.remove(nt.mmu, int(mutant) + _MUTANT_ENTRY)
    v.OwnerThread = 0
    nt.emit_at(LockReleased, "mutex", int(mutant))
    apc_disable = v.ApcDisable
    ki_signal(nt, mutant.Header, boost)
    nt.ki.enable_apcs(thread, apc_disable)


def ke_abandon_mutants(nt: Kernel, thread: object, head: int) -> None:
    """A thread ended holding mutexes: mark them abandoned and hand them on."""
    for entry in lists.entries(nt.mmu, head):
        mutant = KMUTANT.at(nt.mmu, entry - _MUTANT_ENTRY)
        lists.remove(nt.mmu, entry)
        v = mutant._v
        v.MutantFlags |= MUTANT_ABANDONED
        v.OwnerThread, v.Header_SignalState = 0, 1
        ki_signal(nt, mutant.Header, MUTANT_INCREMENT)


@export(irql="<= DISPATCH")
def KeReadStateMutex(nt: Kernel, Mutex: PKMUTANT) -> LONG:
    """1 if free. Source: WDK KeReadStateMutex."""
    state: int = Mutex._v.Header_SignalState
    return state
