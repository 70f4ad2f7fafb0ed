"""What is known of a process or thread object. Source: WDK PsGetProcessId and its neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.ps import EPROCESS
from ntsim.abi.scalars import BOOLEAN, HANDLE, LONGLONG, NTSTATUS, PVOID
from ntsim.nt.exports import export
from ntsim.nt.ps.system_thread import SYSTEM_THREAD, TERMINATED

if TYPE_CHECKING:
    from ntsim.abi.ps import PEPROCESS, PETHREAD
    from ntsim.nt.kernel import Kernel

_IMAGE_FILE_NAME = EPROCESS.offset_of("ImageFileName")


@export(irql="<= DISPATCH")
def PsGetProcessId(nt: Kernel, Process: PEPROCESS) -> HANDLE:
    """A process's id. Source: WDK PsGetProcessId."""
    pid: int = Process._v.UniqueProcessId
    return pid


@export(irql="any")
def PsGetProcessImageFileName(nt: Kernel, Process: PEPROCESS) -> PVOID:
    """EPROCESS.ImageFileName: at most 14 characters of the name, NUL-terminated. Undocumented."""
    return int(Process) + _IMAGE_FILE_NAME


@export(irql="<= DISPATCH")
def PsGetProcessCreateTimeQuadPart(nt: Kernel, Process: PEPROCESS) -> LONGLONG:
    """When a process was created, 100 ns units since 1601. Source: WDK."""
    time: int = Process._v.CreateTime_QuadPart
    return time


@export(irql="<= APC")
def PsGetProcessExitStatus(nt: Kernel, Process: PEPROCESS) -> NTSTATUS:
    """The exit status, STATUS_PENDING while the process lives. Source: WDK."""
    process = nt.ps.by_address.get(int(Process))
    if process is not None and process.exit_code is None:
        return ntstatus.STATUS_PENDING
    status: int = Process._v.ExitStatus & 0xFFFF_FFFF
    return status


@export(irql="<= DISPATCH")
def PsGetThreadId(nt: Kernel, Thread: PETHREAD) -> HANDLE:
    """A thread's id. Source: WDK PsGetThreadId."""
    tid: int = Thread._v.Cid_UniqueThread
    return tid


@export(irql="any")
def PsGetThreadProcessId(nt: Kernel, Thread: PETHREAD) -> HANDLE:
    """The id of a thread's process. Source: WDK PsGetThreadProcessId."""
    pid: int = Thread._v.Cid_UniqueProcess
    return pid


@export(irql="any")
def PsGetThreadProcess(nt: Kernel, Thread: PETHREAD) -> PEPROCESS:
    """A thread's process. Source: ntifs.h."""
    return EPROCESS.at(nt.mmu, Thread._v.Tcb_Process)  # type: ignore[no-any-return]


@export(irql="<= DISPATCH")
def IoThreadToProcess(nt: Kernel, Thread: PETHREAD) -> PEPROCESS:
    """The process that created a thread. Source: WDK IoThreadToProcess."""
    return PsGetThreadProcess(nt, Thread)


@export(irql="any")
def PsGetProcessPeb(nt: Kernel, Process: PEPROCESS) -> PVOID:
    """EPROCESS.Peb: 0 for the system process. Undocumented."""
    return int(Process._v.Peb)


@export(irql="any")
def PsGetProcessWow64Process(nt: Kernel, Process: PEPROCESS) -> PVOID:
    """NULL: every process here is a 64-bit one. Undocumented."""
    return 0


@export(irql="any")
def PsGetProcessJob(nt: Kernel, Process: PEPROCESS) -> PVOID:
    """EPROCESS.Job: NULL for a process that is in no job. Undocumented."""
    return int(Process._v.Job)


@export(irql="<= APC")
def PsGetThreadExitStatus(nt: Kernel, Thread: PETHREAD) -> NTSTATUS:
    """The exit status, STATUS_PENDING while the thread lives. Source: WDK PsGetThreadExitStatus."""
    v = Thread._v
    return (
        v.ExitStatus & 0xFFFF_FFFF if v.CrossThreadFlags & TERMINATED else ntstatus.STATUS_PENDING
    )


@export(irql="<= DISPATCH")
def IoIsSystemThread(nt: Kernel, Thread: PETHREAD) -> BOOLEAN:
    """Whether PsCreateSystemThread made a thread in the system process. Source: WDK."""
    return bool(Thread._v.Tcb_MiscFlags & SYSTEM_THREAD)


@export(irql="<= DISPATCH")
def PsIsThreadTerminating(nt: Kernel, Thread: PETHREAD) -> BOOLEAN:
    """TRUE if the thread has ended or is about to. Source: WDK PsIsThreadTerminating."""
    return bool(Thread._v.CrossThreadFlags & TERMINATED)


@export(irql="<= DISPATCH")
def PsIsSystemThread(nt: Kernel, Thread: PETHREAD) -> BOOLEAN:
    """TRUE for a thread without a user-mode side. Source: WDK PsIsSystemThread."""
    return bool(Thread._v.Tcb_MiscFlags & SYSTEM_THREAD)


@export(irql="any")
def PsGetProcessInheritedFromUniqueProcessId(nt: Kernel, Process: PEPROCESS) -> HANDLE:
    """The ID of the process that created this one. Exported, in no header. Source: Wine ntoskrnl
    tests test_current_thread.
    """
    pid: int = Process._v.InheritedFromUniqueProcessId
    return pid


@export(irql="any")
def PsGetProcessSectionBaseAddress(nt: Kernel, Process: PEPROCESS) -> PVOID:
    """Where the process's image begins. Exported, in no header. Source: Wine ntoskrnl tests
    test_process_memory.
    """
    base: int = Process._v.SectionBaseAddress
    return base
