"""The kernel core's state that Windows keeps in unnamed variables, and its shorthand questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.ke import KPRCB, KTSS64, KUSER_SHARED_DATA, KWAIT_BLOCK
from ntsim.abi.rtl import LARGE_INTEGER
from ntsim.hw.clock import BOOT_TIME_100NS, TICK_100NS
from ntsim.hw.cpu import Processor
from ntsim.nt.ke.dpc import ki_retire_dpc_list
from ntsim.nt.ke.ipi import Broadcast
from ntsim.nt.ke.thread import Thread, ki_release_stack
from ntsim.nt.ke.timer import Timers
from ntsim.nt.ke.wait import ki_wait
from ntsim.nt.mm import layout

if TYPE_CHECKING:
    from ntsim.nt.ke.bugcheck import BugCheckState
    from ntsim.nt.kernel import Kernel

_READY_HEADS = KPRCB.offset_of("DispatcherReadyListHead")


class Ke:
    """`threads` by KTHREAD address; `reap` holds ended threads whose stacks nobody stands on."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.threads: dict[int, Thread] = {}
        self.idle_threads: list[Thread] = []
        self.ready_heads = [int(prcb) + _READY_HEADS for prcb in nt.prcb]
        self.timers = Timers(nt)
        self.broadcast: Broadcast | None = None
        self.reap: list[Thread] = []
        self.boot_time = BOOT_TIME_100NS
        self.active_mask = (1 << len(nt.processors)) - 1
        self.ticks = [0] * len(nt.processors)
        self.dispatch_ticks = [0] * len(nt.processors)
        self.pending_watchdog: tuple[int, int] | None = None
        self.shared_data = KUSER_SHARED_DATA.at(nt.mmu, layout.KUSER_SHARED_DATA_VA)
        self._next_ideal = 0
        self.stopping: BugCheckState | None = None
        self.secondary_buffer = 0
        self.nmi_callbacks: list[int] = []

    @property
    def system_time(self) -> int:
        """100 ns units since 1601."""
        return self.boot_time + self.nt.il.now

    def is_idle(self, processor: Processor) -> bool:
        """Runs its idle thread and has nothing queued."""
        prcb = self.nt.prcb[processor.number]._v
        idle = self.idle_threads[processor.number].va
        return prcb.CurrentThread == idle and not prcb.ReadySummary

    def next_ideal_processor(self) -> int:
        """Ideal processors are dealt out in turn."""
        self._next_ideal = (self._next_ideal + 1) % len(self.nt.processors)
        return self._next_ideal

    def set_stack(self, processor: Processor, thread: Thread) -> None:
        """Where the next trap from user mode would put its frame: KPCR and TSS."""
        self.nt.prcb[processor.number]._v.RspBase = thread.stack_base
        KTSS64.at(self.nt.mmu, processor.tr.base)._v.Rsp0 = thread.stack_base

    def address_space(self, thread: Thread) -> int:
        """The page-table root a thread runs on: its process's, or the attached one's."""
        if thread.v.ApcStateIndex:
            return self.nt.ps.by_address[thread.v.ApcState_Process].root
        return thread.process.root

    def waited_objects(self, thread: Thread, count: int) -> list[int]:
        """Addresses of what a waiting thread waits for."""
        if not count or not thread.v.WaitBlockList:
            return []
        first = KWAIT_BLOCK.at(self.nt.mmu, thread.v.WaitBlockList)
        return [first[i]._v.Object for i in range(count)]

    def retire_dpcs(self, processor: Processor) -> None:
        ki_retire_dpc_list(self.nt, processor)

    def reap_threads(self) -> None:
        """Give back the stacks of threads that have ended."""
        while self.reap:
            ki_release_stack(self.nt, self.reap.pop().stack_limit)

    def count_ticks(self, processor: Processor) -> int:
        """Clock ticks since this processor's last clock interrupt, at least 1."""
        now = self.nt.il.clock.now
        last = self.ticks[processor.number]
        self.ticks[processor.number] = now
        return max(1, (now - last) // TICK_100NS)

    def woken(self, processor: Processor) -> None:
        """A halted processor gets no ticks, and has missed none."""
        self.ticks[processor.number] = self.nt.il.clock.now

    def update_time(self) -> None:
        """KUSER_SHARED_DATA's times, high part written twice as readers expect."""
        v, now = self.shared_data._v, self.nt.il.now
        for name, value in (("InterruptTime", now), ("SystemTime", self.boot_time + now)):
            setattr(v, f"{name}_High2Time", value >> 32)
            setattr(v, f"{name}_LowPart", value & 0xFFFFFFFF)
            setattr(v, f"{name}_High1Time", value >> 32)
        v.TickCountQuad = now // TICK_100NS

    def sleep(self, duration_100ns: int) -> None:
        """Wait without condition."""
        timeout = LARGE_INTEGER.at(self.nt.mmu, self.nt.allocate_pool(8, "KeSl"))
        timeout.QuadPart = -duration_100ns
        ki_wait(self.nt, [], 1, 4, 0, False, timeout)
        self.nt.free_pool(int(timeout))
