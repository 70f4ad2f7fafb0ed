"""Push locks: EX_PUSH_LOCK, one pointer that many share or one holds alone.

Value without waiters is the number of sharers times 16 plus bit 0, or bit 0 alone for an exclusive
owner. With waiters it is the address of the newest wait block and flags; the block that came first
keeps the number of sharers. A release wakes the oldest waiter if it wants the lock alone, else all;
who is faster gets it. Callers disable normal kernel APCs first, which nothing checks; an owner
that asks again waits for ever. Source: WDK ExAcquirePushLockExclusiveEx; ReactOS
ntoskrnl/ex/pushlock.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import bugcodes
from ntsim.abi.ke import KEVENT
from ntsim.abi.scalars import ULONG
from ntsim.nt.events import LockAcquired, LockReleased
from ntsim.nt.exports import export
from ntsim.nt.ke.auto_boost import ki_ab_acquire, ki_ab_release
from ntsim.nt.ke.objects import KeInitializeEvent, KeSetEvent
from ntsim.nt.ke.wait import SYNCHRONIZATION_EVENT, WAIT_ANY, ki_wait

if TYPE_CHECKING:
    from ntsim.abi.ex import PEX_PUSH_LOCK
    from ntsim.nt.kernel import Kernel

LOCKED, WAITING, MULTIPLE_SHARED = 1, 2, 8
FLAG_BITS = 0xF
SHARE = 16
VALID_FLAGS, DISABLE_AUTO_BOOST = 3, 2

NEXT, SHARES, ALONE = KEVENT.size, KEVENT.size + 8, KEVENT.size + 16
"""Behind a wait block's event: the next older block, the sharers, whether it wants it alone."""

WAIT_BLOCK_SIZE = KEVENT.size + 24
WR_PUSH_LOCK = 28
_MASK = (1 << 64) - 1


def wait(nt: Kernel, lock: PEX_PUSH_LOCK, alone: bool) -> None:
    """Push a wait block and wait for its event; the lock must be asked for again afterwards."""
    v = lock._v
    block = nt.allocate_pool(WAIT_BLOCK_SIZE, "ExPl")
    event = KEVENT.at(nt.mmu, block)
    KeInitializeEvent(nt, event, SYNCHRONIZATION_EVENT, False)
    nt.write_pointer(block + ALONE, alone)
    if v.Value & WAITING:
        older, shares, flags = v.Value & ~FLAG_BITS, 0, v.Value & FLAG_BITS
    else:
        older, shares, flags = 0, v.Value // SHARE, LOCKED | WAITING
        if shares > 1:
            flags |= MULTIPLE_SHARED
    nt.write_pointer(block + NEXT, older)
    nt.write_pointer(block + SHARES, shares)
    v.Value = block | flags
    ki_wait(nt, [int(event)], WAIT_ANY, WR_PUSH_LOCK, 0, False, None)
    nt.free_pool(block)


def acquire_exclusive(nt: Kernel, lock: PEX_PUSH_LOCK) -> None:
    v = lock._v
    while v.Value & LOCKED:
        wait(nt, lock, True)
    v.Value |= LOCKED
    nt.emit_at(LockAcquired, "push lock", int(lock))


def acquire_shared(nt: Kernel, lock: PEX_PUSH_LOCK) -> None:
    """Share the lock; where somebody waits and nobody holds it, hold it as one alone does."""
    v = lock._v
    while v.Value & LOCKED and (v.Value & WAITING or v.Value < SHARE):
        wait(nt, lock, False)
    v.Value = v.Value | LOCKED if v.Value & WAITING else (v.Value + SHARE) | LOCKED
    nt.emit_at(LockAcquired, "push lock", int(lock))


def release_exclusive(nt: Kernel, lock: PEX_PUSH_LOCK) -> None:
    """Free the lock; one that was not held is all ones afterwards."""
    v = lock._v
    nt.emit_at(LockReleased, "push lock", int(lock))
    v.Value = (v.Value - LOCKED) & _MASK
    if v.Value & (WAITING | LOCKED) == WAITING:
        wake(nt, lock)


def release_shared(nt: Kernel, lock: PEX_PUSH_LOCK) -> None:
    """One sharer less; the last one wakes who waits."""
    v = lock._v
    nt.emit_at(LockReleased, "push lock", int(lock))
    if not v.Value & WAITING:
        v.Value = v.Value - SHARE if v.Value >= 2 * SHARE else 0
        return
    if v.Value & MULTIPLE_SHARED:
        oldest = blocks(nt, lock)[-1]
        shares = nt.read_pointer(oldest + SHARES) - 1
        nt.write_pointer(oldest + SHARES, shares)
        if shares:
            return
    v.Value &= ~(LOCKED | MULTIPLE_SHARED)
    wake(nt, lock)


def blocks(nt: Kernel, lock: PEX_PUSH_LOCK) -> list[int]:
    """The wait blocks, newest first."""
    found = []
    block: int = lock._v.Value & ~FLAG_BITS
    while block:
        found.append(block)
        block = nt.read_pointer(block + NEXT)
    return found


def wake(nt: Kernel, lock: PEX_PUSH_LOCK) -> None:
    """Take the waiters whose turn it is out of the list and set their events, oldest first."""
    waiting = blocks(nt, lock)
    if len(waiting) > 1 and nt.read_pointer(waiting[-1] + ALONE):
        nt.write_pointer(waiting[-2] + NEXT, 0)
        waiting = waiting[-1:]
    else:
        lock._v.Value = 0
    for block in reversed(waiting):
        KeSetEvent(nt, KEVENT.at(nt.mmu, block), 0, False)


def check_flags(nt: Kernel, lock: PEX_PUSH_LOCK, flags: int) -> bool:
    """Whether the lock is tracked by AutoBoost; flags that do not exist are 0x152."""
    if flags & ~VALID_FLAGS:
        nt.bugcheck(bugcodes.INVALID_PUSH_LOCK_FLAGS, flags, int(lock))
    return not flags & DISABLE_AUTO_BOOST


@export(irql="any")
def ExInitializePushLock(nt: Kernel, PushLock: PEX_PUSH_LOCK) -> None:
    """A free push lock. Source: WDK ExInitializePushLock."""
    PushLock._v.Value = 0


@export(irql="<= APC", inline=True)
def ExAcquirePushLockExclusive(nt: Kernel, PushLock: PEX_PUSH_LOCK) -> None:
    """ExAcquirePushLockExclusiveEx with the default flags. Source: wdm.h."""
    ExAcquirePushLockExclusiveEx(nt, PushLock, 0)


@export(irql="<= APC")
def ExAcquirePushLockExclusiveEx(nt: Kernel, PushLock: PEX_PUSH_LOCK, Flags: ULONG) -> None:
    """Hold the lock alone. Source: WDK ExAcquirePushLockExclusiveEx; bug check 0x152."""
    if check_flags(nt, PushLock, Flags):
        ki_ab_acquire(nt, int(PushLock))
    acquire_exclusive(nt, PushLock)


@export(irql="<= APC", inline=True)
def ExAcquirePushLockShared(nt: Kernel, PushLock: PEX_PUSH_LOCK) -> None:
    """ExAcquirePushLockSharedEx with the default flags. Source: wdm.h."""
    ExAcquirePushLockSharedEx(nt, PushLock, 0)


@export(irql="<= APC")
def ExAcquirePushLockSharedEx(nt: Kernel, PushLock: PEX_PUSH_LOCK, Flags: ULONG) -> None:
    """Share the lock. Source: WDK ExAcquirePushLockSharedEx; bug check 0x152."""
    if check_flags(nt, PushLock, Flags):
        ki_ab_acquire(nt, int(PushLock))
    acquire_shared(nt, PushLock)


@export(irql="<= DISPATCH", inline=True)
def ExReleasePushLockExclusive(nt: Kernel, PushLock: PEX_PUSH_LOCK) -> None:
    """ExReleasePushLockExclusiveEx with the default flags. Source: wdm.h."""
    ExReleasePushLockExclusiveEx(nt, PushLock, 0)


@export(irql="<= DISPATCH")
def ExReleasePushLockExclusiveEx(nt: Kernel, PushLock: PEX_PUSH_LOCK, Flags: ULONG) -> None:
    """Free a lock that the caller holds alone. Source: WDK ExReleasePushLockExclusiveEx."""
    if check_flags(nt, PushLock, Flags):
        ki_ab_release(nt, int(PushLock))
    release_exclusive(nt, PushLock)


@export(irql="<= DISPATCH", inline=True)
def ExReleasePushLockShared(nt: Kernel, PushLock: PEX_PUSH_LOCK) -> None:
    """ExReleasePushLockSharedEx with the default flags. Source: wdm.h."""
    ExReleasePushLockSharedEx(nt, PushLock, 0)


@export(irql="<= DISPATCH")
def ExReleasePushLockSharedEx(nt: Kernel, PushLock: PEX_PUSH_LOCK, Flags: ULONG) -> None:
    """Leave a lock that the caller shares. Source: WDK ExReleasePushLockSharedEx."""
    if check_flags(nt, PushLock, Flags):
        ki_ab_release(nt, int(PushLock))
    release_shared(nt, PushLock)
