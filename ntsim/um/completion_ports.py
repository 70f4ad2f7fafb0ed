"""I/O completion ports: CreateIoCompletionPort, GetQueuedCompletionStatus and what belongs to them.

Names, arguments and results are pywin32's. Requests on a handle of the port are made with an
OVERLAPPED; the packet brings that object back, its buffer filled. With the low bit of `hEvent` set
a request makes no packet.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from ntsim.abi import win32_constants as w
from ntsim.abi import winerror
from ntsim.abi.winerror import status_to_win32
from ntsim.abi.winnt_constants import IO_COMPLETION_ALL_ACCESS
from ntsim.host.current import caller_error
from ntsim.um import kernelbase
from ntsim.um.current import MASK64, PyHANDLE, current_user, handle_value
from ntsim.um.errors import status_error, win32_error
from ntsim.um.overlapped import OVERLAPPED, check_overlapped, take_overlapped

if TYPE_CHECKING:
    from ntsim.um.thread import UserThread

STATUS_ABANDONED, STATUS_USER_APC, STATUS_TIMEOUT = 0x80, 0xC0, 0x102
MOST_AT_ONCE = 64
_NOTHING = {
    STATUS_ABANDONED: winerror.ERROR_ABANDONED_WAIT_0,
    STATUS_USER_APC: w.WAIT_IO_COMPLETION,
    STATUS_TIMEOUT: w.WAIT_TIMEOUT,
}


def CreateIoCompletionPort(handle: Any, existing: Any, key: int, threads: int = 0) -> PyHANDLE:
    """A new port, or `existing`, to which `handle` is tied with `key`.

    `handle` INVALID_HANDLE_VALUE makes a port alone. `threads` may run at once, 0 as many as there
    are processors. ERROR_INVALID_PARAMETER (87) for a handle that has a port or was not opened
    with FILE_FLAG_OVERLAPPED.
    """
    funcname = "CreateIoCompletionPort"
    user = current_user(funcname)
    file, port = handle_value(handle, funcname), handle_value(existing, funcname)
    alone = file == w.INVALID_HANDLE_VALUE
    if alone and port:
        raise win32_error(user, funcname, winerror.ERROR_INVALID_PARAMETER)
    made = port
    if not port:
        status, made = kernelbase.create_object(
            "NtCreateIoCompletion", None, IO_COMPLETION_ALL_ACCESS, threads & 0xFFFF_FFFF
        )
        if status >> 30 == 3:
            raise status_error(user, funcname, status)
    if not alone:
        status = kernelbase.set_completion_port(file, made, key & MASK64)
        if status >> 30 == 3:
            if not port:
                kernelbase.CloseHandle(made)
            raise status_error(user, funcname, status)
    return PyHANDLE(made)


def GetQueuedCompletionStatus(port: Any, timeout: int) -> tuple[int, int, int, OVERLAPPED | None]:
    """(error code, bytes transferred, key, OVERLAPPED) of the next packet.

    The code is that of the request; where there is no packet the OVERLAPPED is None, and the code
    says why: WAIT_TIMEOUT (258) after `timeout` milliseconds, ERROR_ABANDONED_WAIT_0 (735) when the
    port was closed meanwhile. Other errors raise.
    """
    funcname = "GetQueuedCompletionStatus"
    user = current_user(funcname)
    status, packet = kernelbase.remove_completion(handle_value(port, funcname), timeout)
    if status:
        return _no_packet(user, funcname, status), 0, 0, None
    key, overlapped, result, transferred = packet
    code = status_to_win32(result) if result >> 30 >= 2 else 0
    user.last_error = code or user.last_error
    return code, transferred, key, take_overlapped(user, overlapped)


def GetQueuedCompletionStatusEx(
    port: Any, count: int, timeout: int, alertable: Any = False
) -> list[tuple[int, OVERLAPPED | None, int, int]]:
    """Up to `count` packets as (key, OVERLAPPED, bytes transferred, NTSTATUS); at most 64 at once.

    Errors raise, a time-out too: WAIT_TIMEOUT (258), ERROR_ABANDONED_WAIT_0 (735),
    WAIT_IO_COMPLETION (192) after user APCs of an alertable wait.
    """
    funcname = "GetQueuedCompletionStatusEx"
    user = current_user(funcname)
    if count <= 0:
        raise win32_error(user, funcname, winerror.ERROR_INVALID_PARAMETER)
    status, packets = kernelbase.remove_completions(
        handle_value(port, funcname), min(count, MOST_AT_ONCE), timeout, int(bool(alertable))
    )
    if status:
        code = _no_packet(user, funcname, status)
        raise win32_error(user, funcname, code)
    return [
        (key, take_overlapped(user, overlapped), transferred, result)
        for key, overlapped, result, transferred in packets
    ]


def _no_packet(user: UserThread, funcname: str, status: int) -> int:
    """The Win32 code of a wait without a packet; an error for what is no end of a wait."""
    if status not in _NOTHING:
        raise status_error(user, funcname, status)
    user.last_error = _NOTHING[status]
    return _NOTHING[status]


def PostQueuedCompletionStatus(
    port: Any, transferred: int = 0, key: int = 0, overlapped: OVERLAPPED | None = None
) -> None:
    """Queue a packet of one's own: whoever waits for the port gets these values."""
    funcname = "PostQueuedCompletionStatus"
    user = current_user(funcname)
    address = 0
    if overlapped is not None:
        address = check_overlapped(overlapped, funcname).lend(user)
    status = kernelbase.set_completion(
        handle_value(port, funcname), key & MASK64, address, transferred & 0xFFFF_FFFF
    )
    if status >> 30 == 3:
        raise status_error(user, funcname, status)


def SetFileCompletionNotificationModes(handle: Any, flags: int) -> None:
    """FILE_SKIP_COMPLETION_PORT_ON_SUCCESS: no packet for a request that ends at once.

    FILE_SKIP_SET_EVENT_ON_HANDLE: the handle itself is not signalled. Neither can be taken back.
    """
    funcname = "SetFileCompletionNotificationModes"
    user = current_user(funcname)
    if not 0 <= flags <= 3:
        raise caller_error(
            f"{funcname} takes FILE_SKIP_COMPLETION_PORT_ON_SUCCESS and "
            f"FILE_SKIP_SET_EVENT_ON_HANDLE, not {flags!r}"
        )
    data = struct.pack("<I", flags)
    status = kernelbase.set_file_information(handle_value(handle, funcname), 41, data)
    if status >> 30 == 3:
        raise status_error(user, funcname, status)
