"""Events, mutexes, semaphores and waits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ntsim.abi import winerror
from ntsim.host.current import caller_error
from ntsim.um import kernelbase
from ntsim.um.current import PyHANDLE, current_user, handle_value
from ntsim.um.errors import status_error

MAXIMUM_WAIT_OBJECTS = 64
STATUS_OBJECT_NAME_EXISTS = 0x4000_0000


def _created(funcname: str, made: tuple[int, int]) -> PyHANDLE:
    """The new handle; ERROR_ALREADY_EXISTS is the last error if the name existed."""
    user = current_user(funcname)
    status, handle = made
    if status >> 30 == 3:
        raise status_error(user, funcname, status)
    exists = status == STATUS_OBJECT_NAME_EXISTS
    user.last_error = winerror.ERROR_ALREADY_EXISTS if exists else 0
    return PyHANDLE(handle)


def _done(funcname: str, status: int) -> None:
    if status >> 30 == 3:
        raise status_error(current_user(funcname), funcname, status)


def CreateEvent(
    sa: Any, manual_reset: Any, initial_state: Any, name: str | None = None
) -> PyHANDLE:
    """An event; with a name, the event of that name if it exists (last error 183)."""
    current_user("CreateEvent")
    made = kernelbase.CreateEventExW(name, int(bool(manual_reset)), int(bool(initial_state)))
    return _created("CreateEvent", made)


def OpenEvent(access: int, inherit: Any, name: str) -> PyHANDLE:
    """A handle to a named event; ERROR_FILE_NOT_FOUND (2) if there is none."""
    current_user("OpenEvent")
    return _created("OpenEvent", kernelbase.open_object("NtOpenEvent", name, access))


def SetEvent(event: Any) -> None:
    """Signal an event."""
    current_user("SetEvent")
    _done("SetEvent", kernelbase.SetEvent(handle_value(event, "SetEvent")))


def ResetEvent(event: Any) -> None:
    """Make an event not signalled."""
    current_user("ResetEvent")
    _done("ResetEvent", kernelbase.ResetEvent(handle_value(event, "ResetEvent")))


def PulseEvent(event: Any) -> None:
    """Release who waits now and leave the event not signalled."""
    current_user("PulseEvent")
    _done("PulseEvent", kernelbase.PulseEvent(handle_value(event, "PulseEvent")))


def CreateMutex(sa: Any, initial_owner: Any, name: str | None = None) -> PyHANDLE:
    """A mutex, owned by the caller if `initial_owner`."""
    current_user("CreateMutex")
    return _created("CreateMutex", kernelbase.CreateMutexExW(name, int(bool(initial_owner))))


def OpenMutex(access: int, inherit: Any, name: str) -> PyHANDLE:
    """A handle to a named mutex."""
    current_user("OpenMutex")
    return _created("OpenMutex", kernelbase.open_object("NtOpenMutant", name, access))


def ReleaseMutex(mutex: Any) -> None:
    """Release one acquisition; ERROR_NOT_OWNER (288) if the thread has none."""
    current_user("ReleaseMutex")
    _done("ReleaseMutex", kernelbase.ReleaseMutex(handle_value(mutex, "ReleaseMutex")))


def CreateSemaphore(
    sa: Any, initial_count: int, maximum_count: int, name: str | None = None
) -> PyHANDLE:
    """A semaphore."""
    current_user("CreateSemaphore")
    made = kernelbase.CreateSemaphoreExW(name, initial_count, maximum_count)
    return _created("CreateSemaphore", made)


def OpenSemaphore(access: int, inherit: Any, name: str) -> PyHANDLE:
    """A handle to a named semaphore."""
    current_user("OpenSemaphore")
    return _created("OpenSemaphore", kernelbase.open_object("NtOpenSemaphore", name, access))


def ReleaseSemaphore(semaphore: Any, release_count: int) -> int:
    """Add to the count; the count before. ERROR_TOO_MANY_POSTS (298) past the maximum."""
    user = current_user("ReleaseSemaphore")
    handle = handle_value(semaphore, "ReleaseSemaphore")
    status, before = kernelbase.ReleaseSemaphore(handle, release_count)
    if status:
        raise status_error(user, "ReleaseSemaphore", status)
    return before


def WaitForSingleObject(handle: Any, milliseconds: int) -> int:
    """WAIT_OBJECT_0, WAIT_TIMEOUT or WAIT_ABANDONED; INFINITE waits for ever."""
    return WaitForSingleObjectEx(handle, milliseconds, False)


def WaitForSingleObjectEx(handle: Any, milliseconds: int, alertable: Any) -> int:
    """As WaitForSingleObject; WAIT_IO_COMPLETION if user APCs ran."""
    user = current_user("WaitForSingleObject")
    number = handle_value(handle, "WaitForSingleObject")
    status = kernelbase.WaitForSingleObjectEx(number, milliseconds, int(bool(alertable)))
    if status >> 30 == 3:
        raise status_error(user, "WaitForSingleObject", status)
    return status


def WaitForMultipleObjects(handles: Iterable[Any], wait_all: Any, milliseconds: int) -> int:
    """WAIT_OBJECT_0 + index (the lowest that is signalled), WAIT_TIMEOUT, WAIT_ABANDONED_0 + index.

    At most 64 handles.
    """
    return WaitForMultipleObjectsEx(handles, wait_all, milliseconds, False)


def WaitForMultipleObjectsEx(
    handles: Iterable[Any], wait_all: Any, milliseconds: int, alertable: Any
) -> int:
    """As WaitForMultipleObjects; WAIT_IO_COMPLETION if user APCs ran."""
    user = current_user("WaitForMultipleObjects")
    if isinstance(handles, int):
        raise caller_error("WaitForMultipleObjects takes a sequence of handles")
    numbers = tuple(handle_value(h, "WaitForMultipleObjects") for h in handles)
    status = kernelbase.WaitForMultipleObjectsEx(
        numbers, int(bool(wait_all)), milliseconds, int(bool(alertable))
    )
    if status >> 30 == 3:
        raise status_error(user, "WaitForMultipleObjects", status)
    return status
