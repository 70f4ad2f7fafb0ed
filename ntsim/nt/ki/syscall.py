"""System calls: entry with a trap frame, the service, exit with its checks.

The frame is bytes at the top of the thread's kernel stack. At exit Windows insists that the thread
is back at PASSIVE_LEVEL (0x4A), with its APC counts as they were and not attached to another
process (0x1). SYSRET then loads the caller's RFLAGS, which turns interrupts on again whatever the
kernel side left: how long they had been off is recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from ntsim.abi import bugcodes
from ntsim.abi.ke import KTRAP_FRAME
from ntsim.abi.services import service_numbers
from ntsim.hw.cpu import RFLAGS_IF
from ntsim.nt.events import SystemCallEntered, SystemCallReturned
from ntsim.nt.ke.thread import Thread
from ntsim.nt.ki import frames
from ntsim.nt.ki.dispatch import ki_bug_check_dispatch
from ntsim.nt.ki.service_table import ki_pass_arguments, ki_service_of_user, service_name
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

KERNEL_MODE, USER_MODE = 0, 1
USER_CS, USER_SS = 0x33, 0x2B
USER_RFLAGS = 0x246
_CURRENT_PROCESS = (1 << 64) - 1
TRAP_FRAME_SIZE = KTRAP_FRAME.size


def system_call(nt: Kernel, service: Callable[..., int], rip: int, *arguments: Any) -> int:
    """A system call of the current thread from user mode; the service's status.

    `rip` is the user-mode return address, in the ntdll stub. Not a frame of its own on the stack:
    what a debugger shows are the service and, at the end, the exit.
    """
    name = service.__name__
    if nt.watched[0] != nt.untouched:
        return ki_system_call(nt, service_numbers()[name], rip, arguments)
    thread = nt.il.current.context
    _build_trap_frame(nt, thread, rip)
    thread.v.PreviousMode = USER_MODE
    thread.in_kernel = True
    if nt.recorder.enabled:
        nt.emit(SystemCallEntered, name)
    else:
        nt.il.progress += 1
    try:
        status = service(nt, *arguments)
    except StructuredException as error:
        ki_unhandled(nt, error)
    if nt.recorder.enabled:
        nt.emit(SystemCallReturned, name, status)
    else:
        nt.il.progress += 1
    ki_system_service_exit(nt, thread, rip)
    thread.in_kernel = False
    return status


def ki_system_call(nt: Kernel, number: int, rip: int, arguments: tuple[Any, ...]) -> int:
    """A system call by its number that goes the whole way, by what MSRs and memory hold."""
    thread = nt.il.current.context
    registers = ki_pass_arguments(nt, thread, arguments)
    status = nt.host.system_call(number, rip, registers)
    if status is None:
        _build_trap_frame(nt, thread, rip)
        thread.in_kernel = True
        status = ki_system_service(nt, number, rip, registers)
        thread.in_kernel = False
    return status


def ki_system_service(nt: Kernel, number: int, rip: int, registers: tuple[int, ...]) -> int:
    """What KiSystemCall64 does once there is a trap frame, up to the way back to user mode."""
    thread = nt.thread
    thread.v.PreviousMode = USER_MODE
    name = service_name(number)
    nt.emit(SystemCallEntered, name)
    try:
        status = ki_service_of_user(nt, number, registers)
    except StructuredException as error:
        ki_unhandled(nt, error)
    nt.emit(SystemCallReturned, name, status)
    ki_system_service_exit(nt, thread, rip)
    return status


def ki_end_process(nt: Kernel, status: int) -> NoReturn:
    """The kernel ends the current process for an exception that its user mode cannot handle."""
    from ntsim.nt.ps.services import NtTerminateProcess

    thread = nt.thread
    _build_trap_frame(nt, thread, 0)
    thread.v.PreviousMode = KERNEL_MODE
    thread.in_kernel = True
    NtTerminateProcess(nt, _CURRENT_PROCESS, status)
    ki_system_service_exit(nt, thread, 0)
    raise AssertionError("a thread of an ended process went on")


def _build_trap_frame(nt: Kernel, thread: Thread, rip: int) -> None:
    """KTRAP_FRAME at the top of the kernel stack, as KiSystemCall64 builds it."""
    address = thread.stack_base - TRAP_FRAME_SIZE
    v = nt.ki.trap_frames[address]
    v.Rip, v.Rsp, v.EFlags = rip, thread.user_rsp, USER_RFLAGS
    v.SegCs, v.SegSs = USER_CS, USER_SS
    v.PreviousMode = thread.v.PreviousMode
    thread.v.TrapFrame = address
    thread.storage = address


def ki_system_service_exit(nt: Kernel, thread: Thread, rip: int) -> None:
    """Back to ring 3: APCs, the checks, SYSRET."""
    processor = nt.il.current
    v = thread.v
    if v.ApcState_KernelApcPending or v.ApcState_UserApcPendingAll or thread.on_exit:
        nt.ki.exit_apcs(thread)
        processor = nt.il.current
    if processor.cr8:
        ki_bug_check_dispatch(
            nt, bugcodes.IRQL_GT_ZERO_AT_SYSTEM_SERVICE, rip, processor.cr8, 0,
            v.TrapFrame + 0x80,
        )  # fmt: skip
    if v.CombinedApcDisable or v.ApcStateIndex:
        ki_bug_check_dispatch(
            nt, bugcodes.APC_INDEX_MISMATCH, rip, v.ApcStateIndex, v.CombinedApcDisable,
            v.TrapFrame + 0x80,
        )  # fmt: skip
    if not processor.rflags & RFLAGS_IF:
        nt.interrupts_off_at_exit(processor)
    thread.storage = thread.stack_base - TRAP_FRAME_SIZE
    nt.il.step()


def ki_unhandled(nt: Kernel, error: StructuredException, *, interrupt: bool = False) -> NoReturn:
    """An exception nobody caught: 0x3B in a system call, 0x7E in a system thread.

    It is the handler at the bottom of the thread's stack that reports it, whatever the IRQL. With
    `interrupt` the code ran for no thread (a DPC, an interrupt, a VM-exit handler): 0x1E.
    """
    thread = nt.thread
    if error.stack is None:
        error.stack = frames.capture_traceback(nt, error.__traceback__)
    if not error.ExceptionAddress and error.stack:
        error.ExceptionAddress = error.stack[0].address
    context, record = nt.ki.write_exception(thread, error)
    code, address = error.ExceptionCode, error.ExceptionAddress
    if interrupt:
        info = (*error.ExceptionInformation, 0, 0)
        nt.stop_for(error, bugcodes.KMODE_EXCEPTION_NOT_HANDLED, code, address, info[0], info[1])
    if thread.user is not None:
        nt.stop_for(error, bugcodes.SYSTEM_SERVICE_EXCEPTION, code, address, context, 0)
    nt.stop_for(error, bugcodes.SYSTEM_THREAD_EXCEPTION_NOT_HANDLED, code, address, record, context)
