"""Creating and ending processes and threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.ps import EPROCESS, ETHREAD
from ntsim.nt.events import ProcessCreated, ProcessExited, ThreadCreated, ThreadTerminated
from ntsim.nt.ke.objects import ke_abandon_mutants
from ntsim.nt.ke.scheduler import ki_ready_thread
from ntsim.nt.ke.thread import (
    Thread,
    ki_allocate_stack,
    ki_initialize_thread,
    ki_release_stack,
)
from ntsim.nt.ke.unwait import ki_leave_queue
from ntsim.nt.ke.wait import header_of, ki_signal
from ntsim.nt.mm.frames import OutOfFrames
from ntsim.nt.mm.variables import mi_variable
from ntsim.nt.ob.objects import ObjectType
from ntsim.nt.ps.notify import Notify, psp_announce_exit, psp_is_own, psp_notified_start
from ntsim.nt.ps.process import ACTIVE_LINKS, KTHREAD_LIST, THREAD_LIST, Process
from ntsim.nt.ps.token import psp_revert
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

SYSTEM_PID = 4
PROCESS_GENERIC = (0x2_0410, 0x2_0BEA, 0x12_1001, 0x1F_FFFF)
THREAD_GENERIC = (0x2_0048, 0x2_0037, 0x12_0800, 0x1F_FFFF)
_THREAD_ENTRY = ETHREAD.offset_of("ThreadListEntry")
_KTHREAD_ENTRY = ETHREAD.offset_of("Tcb.ThreadListEntry")


class Ps:
    """Process state of one machine. `list_head` is nt!PsActiveProcessHead."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.processes: list[Process] = []
        self.by_address: dict[int, Process] = {}
        self.list_head = mi_variable(nt, "PsActiveProcessHead", 16)
        lists.initialize(nt.mmu, self.list_head)
        self._next_id = SYSTEM_PID
        ob = nt.ob
        self.process_type = ob.add_type(
            ObjectType("Process", PROCESS_GENERIC, delete=psp_delete_process, waitable_offset=0)
        )
        self.thread_type = ob.add_type(
            ObjectType("Thread", THREAD_GENERIC, delete=psp_delete_thread, waitable_offset=0)
        )
        self.system: Process
        self.notify = Notify()

    def current_process(self) -> Process:
        """The process whose address space the running thread uses."""
        return self.by_address[self.nt.il.current.context.v.ApcState_Process]

    def new_id(self) -> int:
        """Process and thread ids come from one sequence, multiples of four."""
        made = self._next_id
        self._next_id += 4
        return made

    def create_process(self, name: str, root: int | None = None) -> Process:
        """A process without threads."""
        nt = self.nt
        va = nt.ob.create(self.process_type, EPROCESS.size, None, "Proc")
        root = nt.mm.new_root() if root is None else root
        process = Process(nt, self.new_id(), name, va, root)
        nt.ob.bodies[va] = process
        self.processes.append(process)
        self.by_address[va] = process
        nt.se.give_token(process, system=len(self.processes) == 1)
        lists.insert_tail(nt.mmu, self.list_head, va + ACTIVE_LINKS)
        if len(self.processes) > 1:
            nt.emit(ProcessCreated, name, process.pid)
        return process

    def create_thread(
        self,
        process: Process,
        start: Callable[[], None],
        *,
        priority: int = 8,
        start_address: int = 0,
    ) -> Thread:
        """A thread of `process` that will run `start`; not yet ready. OutOfFrames."""
        nt = self.nt
        stack = ki_allocate_stack(nt)
        va = nt.ob.create(self.thread_type, ETHREAD.size, None, "Thre")
        if not va:
            ki_release_stack(nt, stack)
            raise OutOfFrames
        ethread = ETHREAD.at(nt.mmu, va)
        thread = Thread(process, self.new_id(), va, ethread)
        nt.ob.bodies[va] = thread
        thread.start = start
        nt.ke.threads[va] = thread
        ki_initialize_thread(nt, thread, priority, stack)
        v = ethread._v
        v.Cid_UniqueProcess, v.Cid_UniqueThread = process.pid, thread.tid
        v.StartAddress = v.Win32StartAddress = start_address
        lists.initialize(nt.mmu, int(ethread.IrpList))
        lists.insert_tail(nt.mmu, process.va + THREAD_LIST, va + _THREAD_ENTRY)
        lists.insert_tail(nt.mmu, process.va + KTHREAD_LIST, va + _KTHREAD_ENTRY)
        process.threads.append(thread)
        process.e._v.ActiveThreads += 1
        nt.ob.reference(va)
        return thread

    def discard_thread(self, thread: Thread) -> None:
        """A thread that was made and never started, because memory is short, is gone."""
        self._leave_process(thread)
        thread.exit_status = ntstatus.STATUS_NO_MEMORY
        ki_release_stack(self.nt, thread.stack_limit)
        self.nt.ob.dereference(thread.va)
        self.nt.ob.dereference(thread.va)

    def _leave_process(self, thread: Thread) -> None:
        process = thread.process
        lists.remove(self.nt.mmu, thread.va + _THREAD_ENTRY)
        lists.remove(self.nt.mmu, thread.va + _KTHREAD_ENTRY)
        process.threads.remove(thread)
        process.e._v.ActiveThreads -= 1

    def start_thread(self, thread: Thread) -> None:
        """Make a new thread ready."""
        if self.notify.wanted and thread.start is not None and not psp_is_own(thread):
            thread.start = psp_notified_start(self.nt, thread, thread.start)
        if self.nt.ke.idle_threads:
            self.nt.emit(ThreadCreated, thread.process.name, thread.tid)
        ki_ready_thread(self.nt, thread)

    def exit_thread(self, status: int) -> None:
        """The current thread's last work in the kernel; the scheduler takes it from here."""
        nt, thread = self.nt, self.nt.thread
        if self.notify.wanted and not psp_is_own(thread):
            psp_announce_exit(nt, thread)
        psp_revert(nt, thread.va)
        thread.exit_status = status
        thread.ethread._v.ExitStatus = status
        nt.io.cancel_thread_io(thread)
        ke_abandon_mutants(nt, thread, int(thread.k.MutantListHead))
        ki_leave_queue(nt, thread)
        self._leave_process(thread)
        process = thread.process
        nt.emit(ThreadTerminated, thread.tid)
        if not process.threads and process is not self.system:
            self._exit_process(process)
        header = header_of(nt, thread.va)
        header._v.SignalState = 1
        ki_signal(nt, header)
        nt.ob.dereference(thread.va)

    def _exit_process(self, process: Process) -> None:
        """The last thread leaves: close handles, check locked pages, signal."""
        nt = self.nt
        for handle in process.handles.handles():
            process.handles.close(handle)
        process.handles.retire()
        process.e._v.ObjectTable = 0
        code = process.exit_code or 0
        process.exit_code = code
        process.e._v.ExitStatus = code
        if process.locked_pages:
            nt.bugcheck(0x76, 0, process.va, process.locked_pages, 0)
        nt.emit(ProcessExited, process.name, code)
        process.user.delete()
        lists.remove(nt.mmu, process.va + ACTIVE_LINKS)
        header = header_of(nt, process.va)
        header._v.SignalState = 1
        ki_signal(nt, header)


def psp_delete_process(nt: Kernel, body: int) -> None:
    """The last reference to a process is gone."""
    process = nt.ps.by_address.pop(body, None)
    if process is not None:
        nt.se.drop_primary(process)
        process.handles.delete()


def psp_delete_thread(nt: Kernel, body: int) -> None:
    """The last reference to a thread is gone."""


def psp_thread_object(nt: Kernel, body: int) -> Any:
    return nt.ob.bodies[body]
