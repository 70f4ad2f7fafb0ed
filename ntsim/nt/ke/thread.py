"""Threads as the scheduler sees them: KTHREAD bytes and the host stack behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from greenlet import greenlet

from ntsim.abi.ke import KAPC_STATE, KTHREAD
from ntsim.abi.ps import ETHREAD
from ntsim.nt.ke.auto_boost import ALL_FREE, LOCK_ENTRIES
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.ps.process import Process

INITIALIZED, READY, RUNNING, STANDBY, TERMINATED, WAITING = range(6)
THREAD_OBJECT = 6
SYSTEM_AFFINITY_ACTIVE = 1 << 3
"""Bit of KTHREAD.MiscFlags: UserAffinity is not in force."""

QUEUE_LIST_ENTRY = KTHREAD.offset_of("QueueListEntry")
QUANTUM_TICKS = 2
KERNEL_STACK_PAGES = 6


class Thread:
    """A thread: its ETHREAD at `va` and what only the simulation needs.

    `greenlet` executes it. `storage` is the kernel stack pointer below which local variables of
    Python routines are placed. `interrupts` keeps RFLAGS.IF while it does not run. `user` is the
    user-mode side (a `um` object), None for system threads; `in_kernel` is true in a system call.
    `untracked_locks` were acquired while no lock entry was free; see `auto_boost.py`.
    """

    __slots__ = (
        "cid",
        "ethread",
        "exit_status",
        "greenlet",
        "handle_user",
        "images",
        "in_kernel",
        "interrupts",
        "k",
        "on_exit",
        "process",
        "quantum",
        "stack_base",
        "stack_limit",
        "start",
        "storage",
        "text",
        "tid",
        "untracked_locks",
        "user",
        "user_rsp",
        "v",
        "va",
        "win32_last_error",
    )  # fmt: skip

    def __init__(self, process: Process, tid: int, va: int, ethread: Any) -> None:
        self.process, self.tid, self.va = process, tid, va
        self.ethread = ethread
        self.k: Any = KTHREAD.at(ethread._m, va)
        self.v = self.k._v
        self.text = f"{process.pid:04x}.{tid:04x}"
        self.greenlet: greenlet | None = None
        self.start: Callable[[], None] | None = None
        self.on_exit: list[Callable[[], None]] = []
        self.interrupts = True
        self.quantum = QUANTUM_TICKS
        self.stack_base = self.stack_limit = self.storage = 0
        self.user: Any = None
        self.user_rsp = 0
        self.images: list[Any] = []
        self.in_kernel = False
        self.exit_status: int | None = None
        self.untracked_locks = 0

    def __repr__(self) -> str:
        return f"thread {self.text} of {self.process.name}"


def ki_allocate_stack(nt: Kernel) -> int:
    """A kernel stack with a guard page below, as its lowest address; OutOfFrames."""
    return nt.mm.system.allocate(nt.mm.stacks, KERNEL_STACK_PAGES, guard=1)


def ki_initialize_thread(nt: Kernel, thread: Thread, priority: int, base: int) -> None:
    """Fill the KTHREAD of a new thread whose kernel stack begins at `base`."""
    k, v = thread.k, thread.v
    v.Header_Type = THREAD_OBJECT
    v.Header_ThreadControlFlags = 0
    lists.initialize(nt.mmu, int(k.Header.WaitListHead))
    lists.initialize(nt.mmu, int(k.MutantListHead))
    for i in range(2):
        lists.initialize(nt.mmu, int(k) + KTHREAD.offset_of("ApcState") + 16 * i)
    assert KAPC_STATE.size == 0x30
    thread.stack_limit = base
    thread.stack_base = thread.storage = base + KERNEL_STACK_PAGES * 0x1000
    v.StackLimit = base
    v.StackBase = v.InitialStack = thread.stack_base
    v.KernelStack = thread.stack_base - 0x200
    v.Process = v.ApcState_Process = thread.process.va
    v.Priority = v.BasePriority = priority
    v.Affinity_Mask = v.UserAffinity_Mask = nt.ke.active_mask
    v.IdealProcessor = v.UserIdealProcessor = nt.ke.next_ideal_processor()
    v.LockEntries, v.AbEntrySummary = thread.va + LOCK_ENTRIES, ALL_FREE
    v.State = INITIALIZED
    assert ETHREAD.size == 0x898


def ki_release_stack(nt: Kernel, base: int) -> None:
    """Nothing will run on this kernel stack again."""
    nt.mm.system.free(nt.mm.stacks, base, KERNEL_STACK_PAGES, guard=1)
