"""CloseHandle, DuplicateHandle, the last error."""

from __future__ import annotations

from typing import Any

from ntsim.abi import winerror
from ntsim.um import kernelbase
from ntsim.um.current import PyHANDLE, current_user, handle_value
from ntsim.um.errors import status_error


def CloseHandle(handle: Any) -> None:
    """Close a handle; ERROR_INVALID_HANDLE (6) if it is none."""
    user = current_user("CloseHandle")
    status = kernelbase.CloseHandle(handle_value(handle, "CloseHandle"))
    if status >> 30 == 3:
        raise status_error(user, "CloseHandle", status)


def DuplicateHandle(
    source_process: Any, handle: Any, target_process: Any, access: int, inherit: Any, options: int
) -> PyHANDLE:
    """A second handle to the same object, valid in `target_process`."""
    user = current_user("DuplicateHandle")
    processes = [handle_value(p, "DuplicateHandle") for p in (source_process, target_process)]
    status, made = kernelbase.DuplicateHandle(
        processes[0], handle_value(handle, "DuplicateHandle"), processes[1], access & 0xFFFF_FFFF,
        options,
    )  # fmt: skip
    if status:
        raise status_error(user, "DuplicateHandle", status)
    return PyHANDLE(made)


def GetLastError() -> int:
    """The code of the last failed call of the thread."""
    return current_user("GetLastError").last_error


def SetLastError(code: int) -> None:
    """Set the thread's last error."""
    current_user("SetLastError").last_error = code & 0xFFFF_FFFF


def FormatMessage(code: int) -> str:
    """The system's text for an error code."""
    return winerror.strerror(code) + "\r\n"
