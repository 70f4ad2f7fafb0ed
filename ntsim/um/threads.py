"""Threads and processes as apps see them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from ntsim.abi import win32_constants as w
from ntsim.host.current import caller_error
from ntsim.um import kernelbase, ntdll
from ntsim.um import thread as t
from ntsim.um.current import PyHANDLE, current_user, handle_value
from ntsim.um.errors import status_error

BASIC_INFORMATION_SIZE = 48
BASE_PRIORITY, AFFINITY_MASK = 3, 4


class NewThread(NamedTuple):
    """What CreateThread returns; passed as a handle it is its handle."""

    handle: PyHANDLE
    id: int

    def __index__(self) -> int:
        return int(self.handle)

    def __int__(self) -> int:
        return int(self.handle)


def CreateThread(
    sa: Any, stack_size: int, function: Callable[..., Any], args: Any = (), flags: int = 0
) -> NewThread:
    """Run `function(*args)` in a new thread; its int result is the exit code. (handle, id).

    `args` that is no tuple is the one argument; None is none.
    """
    user = current_user("CreateThread")
    if not callable(function):
        raise caller_error(f"CreateThread takes a function, not {function!r}")
    process = user.process
    values = args if isinstance(args, tuple) else () if args is None else (args,)
    argument = process.keep_call(function, values)
    status, handle = kernelbase.CreateRemoteThreadEx(
        ntdll.CURRENT_PROCESS, process.routine(function), argument, flags, stack_size or 0
    )
    if status >> 30 == 3:
        process.calls.pop(argument, None)
        raise status_error(user, "CreateThread", status)
    return NewThread(PyHANDLE(handle), GetThreadId(handle))


def ResumeThread(thread: Any) -> int:
    """Let a thread created with CREATE_SUSPENDED begin; the suspend count before."""
    user = current_user("ResumeThread")
    number = handle_value(thread, "ResumeThread")
    status = ntdll.NtResumeThread(number, user.put_numbers(t.RESULT, 0))
    if status:
        raise status_error(user, "ResumeThread", status)
    return user.number(t.RESULT, 4)


def TerminateThread(thread: Any, exit_code: int) -> None:
    """End a thread where it is; it runs no handlers."""
    user = current_user("TerminateThread")
    number = handle_value(thread, "TerminateThread")
    status = ntdll.NtTerminateThread(number, exit_code & 0xFFFF_FFFF)
    if status >> 30 == 3:
        raise status_error(user, "TerminateThread", status)


def ExitThread(exit_code: int) -> None:
    """End the calling thread here."""
    current_user("ExitThread")
    ntdll.RtlExitUserThread(exit_code & 0xFFFF_FFFF)


def ExitProcess(exit_code: int) -> None:
    """End the process here: its other threads, then this one."""
    current_user("ExitProcess")
    ntdll.RtlExitUserProcess(exit_code & 0xFFFF_FFFF)


def TerminateProcess(process: Any, exit_code: int) -> None:
    """End a process from outside: its requests are cancelled, its handles closed."""
    user = current_user("TerminateProcess")
    number = handle_value(process, "TerminateProcess")
    status = ntdll.NtTerminateProcess(number, exit_code & 0xFFFF_FFFF)
    if status >> 30 == 3:
        raise status_error(user, "TerminateProcess", status)


def _basic(funcname: str, service: str, handle: Any) -> bytes:
    user = current_user(funcname)
    number = handle_value(handle, funcname)
    status, data = kernelbase.information(service, number, 0, BASIC_INFORMATION_SIZE)
    if status:
        raise status_error(user, funcname, status)
    return data


def GetExitCodeThread(thread: Any) -> int:
    """The exit code, STILL_ACTIVE (259) while it runs."""
    data = _basic("GetExitCodeThread", "NtQueryInformationThread", thread)
    return int.from_bytes(data[:4], "little")


def GetExitCodeProcess(process: Any) -> int:
    """The exit code, STILL_ACTIVE (259) while it runs."""
    data = _basic("GetExitCodeProcess", "NtQueryInformationProcess", process)
    return int.from_bytes(data[:4], "little")


def GetThreadId(thread: Any) -> int:
    """The id of a thread."""
    data = _basic("GetThreadId", "NtQueryInformationThread", thread)
    return int.from_bytes(data[24:32], "little")


def GetProcessId(process: Any) -> int:
    """The id of a process."""
    data = _basic("GetProcessId", "NtQueryInformationProcess", process)
    return int.from_bytes(data[32:40], "little")


def GetCurrentProcess() -> int:
    """The pseudo handle of the calling process, -1."""
    return -1


def GetCurrentThread() -> int:
    """The pseudo handle of the calling thread, -2."""
    return -2


def GetCurrentProcessId() -> int:
    """The calling process's id."""
    return current_user("GetCurrentProcessId").process.pid


def GetCurrentThreadId() -> int:
    """The calling thread's id."""
    return current_user("GetCurrentThreadId").thread.tid


def OpenProcess(access: int, inherit: Any, process_id: int) -> PyHANDLE:
    """A handle to a process by id; ERROR_INVALID_PARAMETER (87) if there is none."""
    user = current_user("OpenProcess")
    status, handle = kernelbase.open_by_id("NtOpenProcess", access & 0xFFFF_FFFF, process_id, 0)
    if status:
        raise status_error(user, "OpenProcess", status)
    return PyHANDLE(handle)


def OpenThread(access: int, inherit: Any, thread_id: int) -> PyHANDLE:
    """A handle to a thread by id."""
    user = current_user("OpenThread")
    status, handle = kernelbase.open_by_id("NtOpenThread", access & 0xFFFF_FFFF, 0, thread_id)
    if status:
        raise status_error(user, "OpenThread", status)
    return PyHANDLE(handle)


def SetThreadAffinityMask(thread: Any, mask: int) -> int:
    """Where a thread may run; the mask before. 87 if the mask names absent processors."""
    user = current_user("SetThreadAffinityMask")
    number = handle_value(thread, "SetThreadAffinityMask")
    before = _basic("SetThreadAffinityMask", "NtQueryInformationThread", number)
    data = struct.pack("<Q", mask & 0xFFFF_FFFF_FFFF_FFFF)
    status = kernelbase.set_thread_information(number, AFFINITY_MASK, data)
    if status:
        raise status_error(user, "SetThreadAffinityMask", status)
    return int.from_bytes(before[32:40], "little")


def SetThreadPriority(thread: Any, priority: int) -> None:
    """One of THREAD_PRIORITY_*."""
    user = current_user("SetThreadPriority")
    number = handle_value(thread, "SetThreadPriority")
    status = kernelbase.set_thread_information(number, BASE_PRIORITY, struct.pack("<i", priority))
    if status:
        raise status_error(user, "SetThreadPriority", status)


def QueueUserAPC(function: Callable[..., Any], thread: Any, data: Any = None) -> None:
    """Have a thread call `function(data)` when it next waits alertably."""
    user = current_user("QueueUserAPC")
    if not callable(function):
        raise caller_error(f"QueueUserAPC takes a function, not {function!r}")
    process = user.process
    argument = process.keep_call(function, (data,))
    number = handle_value(thread, "QueueUserAPC")
    status = kernelbase.QueueUserAPC(process.routine(function), number, argument)
    if status:
        process.calls.pop(argument, None)
        raise status_error(user, "QueueUserAPC", status)


def Sleep(milliseconds: int) -> None:
    """Wait; 0 gives way to other ready threads. Virtual time: a long sleep costs nothing."""
    SleepEx(milliseconds, False)


def SleepEx(milliseconds: int, alertable: Any) -> int:
    """As Sleep; WAIT_IO_COMPLETION if user APCs ran, else 0."""
    current_user("Sleep")
    status = kernelbase.SleepEx(int(milliseconds) & 0xFFFF_FFFF, int(bool(alertable)))
    return status if status == w.WAIT_IO_COMPLETION else 0
