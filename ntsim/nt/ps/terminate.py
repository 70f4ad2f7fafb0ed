"""Ending user-mode threads and processes.

Nothing ends a thread inside the kernel. Whoever wants a thread gone leaves word for its return to
user mode: a wait in user mode is broken off (as by a user APC), anything else finishes first. There
the thread cancels its I/O, lets go of what it holds and is never seen again. Source: Windows
Internals 7, part 1, chapter 4, "Examining thread activity"; WDK "Canceling IRPs".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from ntsim.nt.ke.thread import INITIALIZED, WAITING
from ntsim.nt.ke.unwait import ki_unwait
from ntsim.nt.ki.apc import STATUS_USER_APC
from ntsim.nt.ps.system_thread import psp_exit_thread

if TYPE_CHECKING:
    from ntsim.nt.ke.thread import Thread
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.ps.process import Process


def psp_terminate_thread(nt: Kernel, thread: Thread, status: int) -> None:
    """Make a thread end with `status`; does not come back for the current one."""
    if thread is nt.thread:
        psp_leave(nt, status)
    thread.on_exit.append(lambda: psp_leave(nt, status))
    process = thread.process
    if process.um is not None:
        process.um.attention = True
    if thread.v.State == WAITING and thread.v.WaitMode:
        ki_unwait(nt, thread, STATUS_USER_APC)
    elif thread.v.State == INITIALIZED:
        nt.ps.start_thread(thread)


def psp_leave(nt: Kernel, status: int) -> NoReturn:
    """The current thread goes; the last one of a process takes the process with it."""
    thread = nt.thread
    thread.on_exit.clear()
    process = thread.process
    if process.exit_code is None and len(process.threads) == 1:
        process.exit_code = status
    psp_exit_thread(nt, status)


def psp_terminate_process(nt: Kernel, process: Process, status: int) -> None:
    """Make every thread of a process end; the current one last, and then this does not return."""
    if process.exit_code is None:
        process.exit_code = status
    current = nt.thread
    psp_terminate_others(nt, process, status)
    if current.process is process:
        psp_leave(nt, status)


def psp_terminate_others(nt: Kernel, process: Process, status: int) -> None:
    """Every thread of a process but the current one."""
    for thread in list(process.threads):
        if thread is not nt.thread:
            psp_terminate_thread(nt, thread, status)
