"""AutoBoost: each thread has six lock entries, and fast mutexes and push locks take one while held.

Windows lends the owner the priority of who waits; that is not modelled. What a driver sees are the
checks: a lock acquired at DISPATCH_LEVEL (0x192; an ERESOURCE too, fast mutexes set APC_LEVEL
before), released by a thread that does not hold it (0x162), or held by a thread that ends (0x153).
A lock acquired while no entry is free is not tracked.

Source: Windows Internals 7, part 2, chapter 8, "AutoBoost"; WDK Bug Check 0x153, 0x162, 0x192;
nefarius/BthPS3 issue 2; KTHREAD.AbEntrySummary and KLOCK_ENTRY from the 19041 symbols.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import bugcodes
from ntsim.nt.ke.irql import APC_LEVEL

if TYPE_CHECKING:
    from ntsim.nt.ke.thread import Thread
    from ntsim.nt.kernel import Kernel

ENTRIES, ENTRY_SIZE = 6, 0x60
LOCK_ENTRIES = 0x650
"""In ETHREAD, where KTHREAD.LockEntries points."""

_LOCK, _SESSION = 0x20, 0x28
ALL_FREE = (1 << ENTRIES) - 1
NO_SESSION = 0xFFFF_FFFF
LOCK_NOT_NULL = 1
"""Parameter 3 of 0x153."""


def ke_ab_pre_acquire(nt: Kernel, lock: int) -> None:
    """Bug check 0x192 above APC_LEVEL: the owner may be the thread that was interrupted."""
    level = nt.il.current.cr8
    if level > APC_LEVEL:
        code = bugcodes.KERNEL_AUTO_BOOST_LOCK_ACQUISITION_WITH_RAISED_IRQL
        nt.bugcheck(code, nt.thread.va, lock, level)


def ki_ab_acquire(nt: Kernel, lock: int) -> None:
    """The current thread has a lock, or is about to wait for it."""
    ke_ab_pre_acquire(nt, lock)
    thread = nt.thread
    v = thread.v
    free: int = v.AbEntrySummary
    if not free:
        thread.untracked_locks += 1
        return
    index = (free & -free).bit_length() - 1
    v.AbEntrySummary = free & free - 1
    entry = thread.va + LOCK_ENTRIES + ENTRY_SIZE * index
    nt.mmu.write_word(entry + _LOCK, lock)
    nt.mmu.write_word(entry + _SESSION, NO_SESSION)


def ki_ab_release(nt: Kernel, lock: int) -> None:
    """The current thread lets a lock go: 0x162 if it does not have it."""
    thread = nt.thread
    v = thread.v
    used = v.AbEntrySummary ^ ALL_FREE
    while used:
        bit = used & -used
        used ^= bit
        entry = thread.va + LOCK_ENTRIES + ENTRY_SIZE * (bit.bit_length() - 1)
        if nt.mmu.read_word(entry + _LOCK) == lock:
            nt.mmu.write_word(entry + _LOCK, 0)
            v.AbEntrySummary |= bit
            return
    if thread.untracked_locks:
        thread.untracked_locks -= 1
        return
    code = bugcodes.KERNEL_AUTO_BOOST_INVALID_LOCK_RELEASE
    nt.bugcheck(code, thread.va, lock, NO_SESSION, 0)


def ki_ab_check_exit(nt: Kernel, thread: Thread) -> None:
    """The thread ends: 0x153 if it still has a lock."""
    used = thread.v.AbEntrySummary ^ ALL_FREE
    if used:
        index = (used & -used).bit_length() - 1
        entry = thread.va + LOCK_ENTRIES + ENTRY_SIZE * index
        code = bugcodes.KERNEL_LOCK_ENTRY_LEAKED_ON_THREAD_TERMINATION
        nt.bugcheck(code, thread.va, entry, LOCK_NOT_NULL, 0)
