"""Reader-writer spin locks: EX_SPIN_LOCK.

Bit 31 is the exclusive owner's, set while it still waits for sharers to leave, so that no new one
comes in; the other bits count the sharers. Nothing else is remembered: a release that does not
match its acquire makes the count wrong and somebody spins for ever (0x133). Source: WDK
"Reader-Writer Spin Locks"; wdm.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import KIRQL, LOGICAL, PLONG
from ntsim.nt.events import SpinLockAcquired, SpinLockReleased
from ntsim.nt.exports import export
from ntsim.nt.ke.irql import DISPATCH_LEVEL, set_irql

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

EXCLUSIVE = 1 << 31
_MASK = 0xFFFF_FFFF


def read_lock(nt: Kernel, lock: PLONG) -> int:
    """The lock's 32 bits."""
    return int.from_bytes(nt.mmu.read(int(lock), 4), "little")


def write_lock(nt: Kernel, lock: PLONG, value: int) -> None:
    nt.mmu.write(int(lock), (value & _MASK).to_bytes(4, "little"))


def exp_acquire_shared(nt: Kernel, lock: PLONG) -> None:
    """Spin while somebody holds or wants the lock alone, then count one sharer more."""
    while read_lock(nt, lock) & EXCLUSIVE:
        nt.il.spin()
    write_lock(nt, lock, read_lock(nt, lock) + 1)
    nt.emit_at(SpinLockAcquired, int(lock))


def exp_acquire_exclusive(nt: Kernel, lock: PLONG) -> None:
    """Spin for the exclusive bit, then until the sharers have left."""
    while read_lock(nt, lock) & EXCLUSIVE:
        nt.il.spin()
    write_lock(nt, lock, read_lock(nt, lock) | EXCLUSIVE)
    while read_lock(nt, lock) & ~EXCLUSIVE:
        nt.il.spin()
    nt.emit_at(SpinLockAcquired, int(lock))


def exp_release_shared(nt: Kernel, lock: PLONG) -> None:
    """One sharer less; a count that was 0 borrows from the exclusive bit."""
    write_lock(nt, lock, read_lock(nt, lock) - 1)
    nt.emit_at(SpinLockReleased, int(lock))


def exp_release_exclusive(nt: Kernel, lock: PLONG) -> None:
    write_lock(nt, lock, 0)
    nt.emit_at(SpinLockReleased, int(lock))


@export(irql="<= DISPATCH")
def ExAcquireSpinLockShared(nt: Kernel, SpinLock: PLONG) -> KIRQL:
    """Raise to DISPATCH_LEVEL and share the lock; returns the old IRQL. Source: WDK."""
    old = set_irql(nt, DISPATCH_LEVEL, "ExAcquireSpinLockShared")
    exp_acquire_shared(nt, SpinLock)
    return old


@export(irql=">= DISPATCH")
def ExAcquireSpinLockSharedAtDpcLevel(nt: Kernel, SpinLock: PLONG) -> None:
    """Share the lock without touching the IRQL. Source: WDK."""
    exp_acquire_shared(nt, SpinLock)


@export(irql="== DISPATCH")
def ExReleaseSpinLockShared(nt: Kernel, SpinLock: PLONG, OldIrql: KIRQL) -> None:
    """Leave the lock and lower to OldIrql. Source: WDK ExReleaseSpinLockShared."""
    exp_release_shared(nt, SpinLock)
    set_irql(nt, OldIrql, "ExReleaseSpinLockShared")


@export(irql=">= DISPATCH")
def ExReleaseSpinLockSharedFromDpcLevel(nt: Kernel, SpinLock: PLONG) -> None:
    """Leave the lock without touching the IRQL. Source: WDK."""
    exp_release_shared(nt, SpinLock)


@export(irql="<= DISPATCH")
def ExAcquireSpinLockExclusive(nt: Kernel, SpinLock: PLONG) -> KIRQL:
    """Raise to DISPATCH_LEVEL and hold the lock alone; returns the old IRQL. Source: WDK."""
    old = set_irql(nt, DISPATCH_LEVEL, "ExAcquireSpinLockExclusive")
    exp_acquire_exclusive(nt, SpinLock)
    return old


@export(irql=">= DISPATCH")
def ExAcquireSpinLockExclusiveAtDpcLevel(nt: Kernel, SpinLock: PLONG) -> None:
    """Hold the lock alone without touching the IRQL. Source: WDK."""
    exp_acquire_exclusive(nt, SpinLock)


@export(irql="== DISPATCH")
def ExReleaseSpinLockExclusive(nt: Kernel, SpinLock: PLONG, OldIrql: KIRQL) -> None:
    """Free the lock and lower to OldIrql. Source: WDK ExReleaseSpinLockExclusive."""
    exp_release_exclusive(nt, SpinLock)
    set_irql(nt, OldIrql, "ExReleaseSpinLockExclusive")


@export(irql=">= DISPATCH")
def ExReleaseSpinLockExclusiveFromDpcLevel(nt: Kernel, SpinLock: PLONG) -> None:
    """Free the lock without touching the IRQL. Source: WDK."""
    exp_release_exclusive(nt, SpinLock)


@export(irql="== DISPATCH")
def ExTryConvertSharedSpinLockExclusive(nt: Kernel, SpinLock: PLONG) -> LOGICAL:
    """Hold alone what the caller shares; FALSE if others share or want it too. Source: WDK."""
    if read_lock(nt, SpinLock) != 1:
        return False
    write_lock(nt, SpinLock, EXCLUSIVE)
    return True


@export(irql=">= DISPATCH")
def ExTryAcquireSpinLockSharedAtDpcLevel(nt: Kernel, SpinLock: PLONG) -> LOGICAL:
    """Share the lock if that needs no spinning. Source: wdm.h."""
    if read_lock(nt, SpinLock) & EXCLUSIVE:
        return False
    exp_acquire_shared(nt, SpinLock)
    return True


@export(irql=">= DISPATCH")
def ExTryAcquireSpinLockExclusiveAtDpcLevel(nt: Kernel, SpinLock: PLONG) -> LOGICAL:
    """Hold the lock alone if it is free. Source: wdm.h."""
    if read_lock(nt, SpinLock):
        return False
    exp_acquire_exclusive(nt, SpinLock)
    return True
