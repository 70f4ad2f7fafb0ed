"""System threads: PsCreateSystemThread, PsTerminateSystemThread, and how a thread ends.

A thread ends where it calls PsTerminateSystemThread, however deep that is, or when its start
routine returns. What it must not leave behind is checked first. Source: WDK PsCreateSystemThread;
bug checks 0x5, 0x20, 0xE9, 0x4000008A; Windows Internals 7, part 1, chapter 4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from greenlet import getcurrent

from ntsim.abi import bugcodes, ntstatus
from ntsim.abi.ke import KMUTANT
from ntsim.abi.scalars import HANDLE, NTSTATUS, PKSTART_ROUTINE, PVOID, ULONG
from ntsim.nt.exports import Out, export
from ntsim.nt.ke.auto_boost import ki_ab_check_exit
from ntsim.nt.ke.scheduler import ki_terminate_current
from ntsim.nt.mm.frames import OutOfFrames
from ntsim.nt.ob.handles import ob_reference_by_handle
from ntsim.nt.ob.insert import ob_insert_handle
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.abi.rtl import PCLIENT_ID, POBJECT_ATTRIBUTES
    from ntsim.nt.ke.thread import Thread
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.ps.process import Process

SYSTEM_THREAD = 1 << 10
"""Bit of KTHREAD.MiscFlags."""

TERMINATED = 1 << 0
"""Bit of ETHREAD.CrossThreadFlags."""

ACTIVE_EX_WORKER = 1 << 0
"""Bit of ETHREAD.SameThreadPassiveFlags: an executive worker thread."""

_MUTANT_ENTRY = KMUTANT.offset_of("MutantListEntry")


def psp_create_system_thread(
    nt: Kernel, process: Process, work: Callable[[], Any], start_address: int, priority: int = 8
) -> Thread:
    """A thread that runs `work` in kernel mode and then ends; not yet ready, referenced once.

    OutOfFrames if there is no memory for it.
    """
    thread = nt.ps.create_thread(
        process,
        lambda: psp_system_thread_startup(nt, work),
        priority=priority,
        start_address=start_address,
    )
    thread.v.MiscFlags |= SYSTEM_THREAD
    thread.ethread.CreateTime.QuadPart = nt.ke.system_time
    return thread


def psp_system_thread_startup(nt: Kernel, work: Callable[[], Any]) -> None:
    """The bottom of a system thread's stack."""
    nt.guard_system_thread(work)
    psp_exit_thread(nt, ntstatus.STATUS_SUCCESS)


def psp_exit_thread(nt: Kernel, status: int) -> NoReturn:
    """End the current thread. Its frames are abandoned, none of them runs again."""
    thread = nt.thread
    psp_check_exit(nt, thread)
    ethread = thread.ethread._v
    ethread.CrossThreadFlags |= TERMINATED
    ethread.ExitTime_QuadPart = nt.ke.system_time
    nt.ps.exit_thread(status)
    here: Any = getcurrent()
    ki_terminate_current(nt)
    following = here.parent
    here.parent = nt.il.hub
    nt.greenlets[here] = f"stack of ended thread {thread.text}"
    nt.il.enter(following)
    nt.il.check_closed()
    raise AssertionError(f"{thread} went on after its end")


def psp_check_exit(nt: Kernel, thread: Thread) -> None:
    """A thread that ends attached, at raised IRQL, with APCs disabled or holding a lock stops."""
    v = thread.v
    if v.ApcStateIndex:
        nt.bugcheck(
            bugcodes.INVALID_PROCESS_ATTACH_ATTEMPT,
            thread.process.va,
            v.ApcState_Process,
            v.ApcStateIndex,
            nt.prcb[nt.il.current.number]._v.DpcRoutineActive,
        )
    if thread.ethread._v.SameThreadPassiveFlags & ACTIVE_EX_WORKER:
        nt.bugcheck(bugcodes.ACTIVE_EX_WORKER_THREAD_TERMINATION, thread.va)
    for entry in lists.entries(nt.mmu, int(thread.k.MutantListHead)):
        mutant = KMUTANT.at(nt.mmu, entry - _MUTANT_ENTRY)
        if mutant._v.ApcDisable:
            nt.bugcheck(bugcodes.THREAD_TERMINATE_HELD_MUTEX, thread.va, int(mutant))
    irql = nt.il.current.cr8
    if v.CombinedApcDisable or irql:
        code = bugcodes.KERNEL_APC_PENDING_DURING_EXIT
        nt.bugcheck(code, 0, v.CombinedApcDisable, irql)
    ki_ab_check_exit(nt, thread)


@export(irql="== PASSIVE")
def PsCreateSystemThread(
    nt: Kernel,
    ThreadHandle: Out[HANDLE],
    DesiredAccess: ULONG,
    ObjectAttributes: POBJECT_ATTRIBUTES,
    ProcessHandle: HANDLE,
    ClientId: PCLIENT_ID,
    StartRoutine: PKSTART_ROUTINE,
    StartContext: PVOID,
) -> NTSTATUS:
    """A kernel-mode thread, of the System process if ProcessHandle is NULL, started at once.

    The handle is one of the current process unless the attributes say OBJ_KERNEL_HANDLE.
    STATUS_INSUFFICIENT_RESOURCES: no memory for its stack. Source: WDK PsCreateSystemThread.
    """
    status, process = process_of(nt, ProcessHandle)
    if process is None:
        return status
    routine, context = int(StartRoutine), int(StartContext)
    try:
        thread = psp_create_system_thread(nt, process, lambda: nt.call(routine, context), routine)
    except OutOfFrames:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    attributes = ObjectAttributes.Attributes if ObjectAttributes else 0
    ThreadHandle[0] = ob_insert_handle(nt, thread.va, DesiredAccess, attributes)
    if ClientId:
        ClientId.UniqueProcess, ClientId.UniqueThread = process.pid, thread.tid
    nt.ob.dereference(thread.va)
    nt.ps.start_thread(thread)
    return ntstatus.STATUS_SUCCESS


def process_of(nt: Kernel, handle: int) -> tuple[int, Process | None]:
    """(status, process) of a process handle, NULL meaning the System process."""
    if not handle:
        return ntstatus.STATUS_SUCCESS, nt.ps.system
    status, body, _ = ob_reference_by_handle(nt, handle, 0, nt.ps.process_type, 0)
    if status:
        return status, None
    nt.ob.dereference(body)
    return status, nt.ps.by_address[body]


@export(irql="== PASSIVE")
def PsTerminateSystemThread(nt: Kernel, ExitStatus: NTSTATUS) -> NTSTATUS:
    """End the current thread; returns only for a thread that is no system thread.

    Source: WDK PsTerminateSystemThread.
    """
    if nt.thread.user is not None:
        return ntstatus.STATUS_INVALID_PARAMETER
    psp_exit_thread(nt, ExitStatus)
