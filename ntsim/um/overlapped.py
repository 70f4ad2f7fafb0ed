"""OVERLAPPED and the results of asynchronous requests."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from ntsim.abi import win32_constants as w
from ntsim.abi import winerror
from ntsim.host.current import caller_error
from ntsim.um import kernelbase
from ntsim.um.current import current_user, handle_value
from ntsim.um.errors import status_error, win32_error

if TYPE_CHECKING:
    from ntsim.um.buffers import Buffers
    from ntsim.um.thread import UserThread

STATUS_PENDING = 0x103
SIZE = 0x20


class OVERLAPPED:
    """A request's state; pywin32's PyOVERLAPPED. Its bytes lie in the process's heap.

    `hEvent`, `Offset` and `OffsetHigh` are set before a call; `Internal` (the NTSTATUS) and
    `InternalHigh` (bytes transferred) are the kernel's.
    """

    def __init__(self) -> None:
        self.hEvent: Any = 0
        self.Offset = self.OffsetHigh = 0
        self.object: Any = None
        self.dword = 0
        self.address = 0
        self.request: Buffers | None = None

    def _quad(self, offset: int) -> int:
        if not self.address:
            return 0
        user = current_user("OVERLAPPED")
        return int.from_bytes(user.mmu.read(self.address + offset, 8), "little")

    @property
    def Internal(self) -> int:
        """The status of the request; STATUS_PENDING (0x103) while it is under way."""
        return self._quad(0)

    @property
    def InternalHigh(self) -> int:
        """Bytes transferred."""
        return self._quad(8)

    def lend(self, user: UserThread) -> int:
        """Its address, by which a completion packet finds it again."""
        if not self.address:
            self.address = user.process.heap.allocate(SIZE)
        user.process.overlapped[self.address] = self
        return self.address

    def begin(self, user: UserThread) -> int:
        """Write the structure for a new request; its address."""
        self.lend(user)
        event = handle_value(self.hEvent, "OVERLAPPED.hEvent")
        offsets = self.Offset & 0xFFFF_FFFF, self.OffsetHigh & 0xFFFF_FFFF
        user.mmu.write(self.address, struct.pack("<QQIIQ", STATUS_PENDING, 0, *offsets, event))
        return self.address


def check_overlapped(value: Any, funcname: str) -> OVERLAPPED:
    """The argument, or a TypeError for something else."""
    if not isinstance(value, OVERLAPPED):
        raise caller_error(f"{funcname} takes an OVERLAPPED(), not {value!r}")
    return value


def start_request(
    user: UserThread, overlapped: OVERLAPPED, buffers: Buffers, status: int, funcname: str
) -> bool:
    """After an overlapped system call: whether it is pending. Errors raise."""
    if status == STATUS_PENDING:
        overlapped.request = buffers
        user.last_error = winerror.ERROR_IO_PENDING
        return True
    if status >> 30 >= 2:
        user.process.overlapped.pop(overlapped.address, None)
        buffers.fail(user)
        raise status_error(user, funcname, status)
    overlapped.request = buffers
    return False


def GetOverlappedResult(handle: Any, overlapped: OVERLAPPED, wait: bool) -> int:
    """The bytes transferred by an overlapped call; its buffer is filled now.

    ERROR_IO_INCOMPLETE (996) if it is still under way and `wait` is false.
    """
    user = current_user("GetOverlappedResult")
    check_overlapped(overlapped, "GetOverlappedResult")
    if overlapped.Internal & 0xFFFF_FFFF == STATUS_PENDING:
        if not wait:
            raise win32_error(user, "GetOverlappedResult", winerror.ERROR_IO_INCOMPLETE)
        event = handle_value(overlapped.hEvent, "OVERLAPPED.hEvent") & ~1
        target = event or handle_value(handle, "GetOverlappedResult")
        waited = kernelbase.WaitForSingleObjectEx(target, w.INFINITE, 0)
        if waited >> 30 == 3:
            raise status_error(user, "GetOverlappedResult", waited)
    return finish_request(user, overlapped)


def finish_request(user: UserThread, overlapped: OVERLAPPED) -> int:
    """Copy the request's data to the app and raise its error, if it has one."""
    status, transferred = overlapped.Internal & 0xFFFF_FFFF, overlapped.InternalHigh
    deliver(user, overlapped)
    if status >> 30 >= 2:
        raise status_error(user, "GetOverlappedResult", status)
    return transferred


def deliver(user: UserThread, overlapped: OVERLAPPED) -> None:
    """A finished request's data to the app's buffer, once."""
    request, overlapped.request = overlapped.request, None
    if request is not None:
        request.fail(user)


def take_overlapped(user: UserThread, address: int) -> OVERLAPPED | None:
    """The object of a completion packet, its data delivered; None if the packet has none."""
    found = user.process.overlapped.pop(address, None)
    if found is not None:
        deliver(user, found)
    return found


def HasOverlappedIoCompleted(overlapped: OVERLAPPED) -> bool:
    """Whether the request is over."""
    check_overlapped(overlapped, "HasOverlappedIoCompleted")
    return overlapped.Internal & 0xFFFF_FFFF != STATUS_PENDING


def CancelIo(handle: Any) -> None:
    """Cancel what the calling thread has under way on a file."""
    user = current_user("CancelIo")
    status = kernelbase.CancelIo(handle_value(handle, "CancelIo"))
    if status >> 30 == 3:
        raise status_error(user, "CancelIo", status)


def CancelIoEx(handle: Any, overlapped: OVERLAPPED | None = None) -> None:
    """Cancel the process's requests on a file, or one; ERROR_NOT_FOUND (1168) if there is none."""
    user = current_user("CancelIoEx")
    address = 0
    if overlapped is not None:
        address = check_overlapped(overlapped, "CancelIoEx").address
        if not address:
            raise win32_error(user, "CancelIoEx", winerror.ERROR_NOT_FOUND)
    status = kernelbase.CancelIoEx(handle_value(handle, "CancelIoEx"), address)
    if status >> 30 == 3:
        raise status_error(user, "CancelIoEx", status)
