"""Processes: EPROCESS bytes, an address space, a handle table, threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi.ps import EPROCESS
from ntsim.nt.mm.user_space import UserSpace
from ntsim.nt.ob.handles import HandleTable
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.nt.ke.thread import Thread
    from ntsim.nt.kernel import Kernel

PROCESS_OBJECT = 3
IMAGE_NAME_LENGTH = 14
THREAD_LIST = EPROCESS.offset_of("ThreadListHead")
KTHREAD_LIST = EPROCESS.offset_of("Pcb.ThreadListHead")
ACTIVE_LINKS = EPROCESS.offset_of("ActiveProcessLinks")


class Process:
    """A process: its EPROCESS at `va`, page-table root, user half, handles, threads.

    `um` is the user-mode side, None for System. `exit_code` is None while it lives.
    """

    def __init__(self, nt: Kernel, pid: int, name: str, va: int, root: int) -> None:
        self.nt, self.pid, self.name, self.va, self.root = nt, pid, name, va, root
        self.e: Any = EPROCESS.at(nt.mmu, va)
        self.user = UserSpace(nt, va, root)
        self.threads: list[Thread] = []
        self.exit_code: int | None = None
        self.um: Any = None
        self.locked_pages = 0
        self._fill()
        self.handles = HandleTable(nt, self)
        self.e.ObjectTable = self.handles.va

    def __repr__(self) -> str:
        return f"process {self.name} ({self.pid})"

    def _fill(self) -> None:
        nt, e = self.nt, self.e
        v = e._v
        v.Pcb_Header_Type = PROCESS_OBJECT
        v.Pcb_DirectoryTableBase = self.root
        v.Pcb_BasePriority = 8
        v.UniqueProcessId = self.pid
        v.CreateTime_QuadPart = nt.ke.system_time
        e.ImageFileName = self.name.encode("latin-1", "replace")[:IMAGE_NAME_LENGTH]
        lists.initialize(nt.mmu, int(e.Pcb.Header.WaitListHead))
        lists.initialize(nt.mmu, self.va + THREAD_LIST)
        lists.initialize(nt.mmu, self.va + KTHREAD_LIST)
