"""CreateFile, DeviceIoControl, ReadFile, WriteFile and what belongs to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from ntsim.abi import win32_constants as w
from ntsim.abi import winerror
from ntsim.host.current import caller_error
from ntsim.um import kernelbase
from ntsim.um.buffers import Buffers, is_raw, place
from ntsim.um.current import PyHANDLE, current_user, handle_value
from ntsim.um.errors import status_error, win32_error
from ntsim.um.kernel32 import DeviceIoControlImplementation
from ntsim.um.overlapped import OVERLAPPED, check_overlapped, start_request
from ntsim.um.thread import INPUT, OUTPUT, SMALL_INPUT, SMALL_OUTPUT

if TYPE_CHECKING:
    from ntsim.um.thread import UserThread

MASK32 = 0xFFFF_FFFF
STATUS_END_OF_FILE, STATUS_BUFFER_OVERFLOW = 0xC000_0011, 0x8000_0005


def CreateFile(
    name: str,
    access: int,
    share: int,
    sa: Any,
    disposition: int,
    flags: int,
    template: Any = None,
) -> PyHANDLE:
    """Open a device: `\\\\.\\Name`. Access is GENERIC_READ | GENERIC_WRITE or single rights.

    `sa` and `template` are for files and change nothing. Errors raise `error`: 2 for a name that
    does not exist, else what the driver's IRP_MJ_CREATE ended in.
    """
    user = current_user("CreateFile")
    if not isinstance(name, str):
        raise caller_error(f"CreateFile takes a name, not {name!r}")
    if not w.CREATE_NEW <= disposition <= w.TRUNCATE_EXISTING:
        raise win32_error(user, "CreateFile", winerror.ERROR_INVALID_PARAMETER)
    status, handle = kernelbase.CreateFileW(
        name, access & MASK32, share & MASK32, disposition, flags & MASK32
    )
    if status >> 30 == 3:
        raise status_error(user, "CreateFile", status)
    return PyHANDLE(handle)


def DeviceIoControl(
    handle: Any, code: int, in_buffer: Any, out: Any, overlapped: OVERLAPPED | None = None
) -> Any:
    """Send a control code to a device.

    `in_buffer` is bytes-like, None or `(address, length)`. `out` is a size: the result is bytes, as
    many as the driver's Information says; a writable buffer: it receives whatever the driver wrote,
    also when the call fails, and is returned; or `(address, length)`: the result is Information.
    With `overlapped` the call returns at once, and GetOverlappedResult fills the buffer.
    """
    try:
        user = getcurrent().user
    except AttributeError:
        user = current_user("DeviceIoControl")
    if (
        overlapped is None
        and type(in_buffer) is bytes
        and type(out) is int
        and len(in_buffer) <= SMALL_INPUT
        and 0 <= out <= SMALL_OUTPUT
        and not user.thread.in_kernel
        and not user.nt.il.closed
    ):
        return _small_request(user, handle, code, in_buffer, out)
    return _any_request(handle, code, in_buffer, out, overlapped)


def _small_request(user: UserThread, handle: Any, code: int, data: bytes, out: int) -> bytes:
    """Both buffers in the scratch page: no allocation, no page-table walk."""
    ram, scratch = user.ram, user.scratch
    try:
        at = user.mmu.user[user.root].write[user.page] - user.ram_address
    except KeyError:
        at = user.locate()
    size = len(data)
    if size:
        ram[at + INPUT : at + INPUT + size] = data
    if out:
        ram[at + OUTPUT : at + OUTPUT + out] = bytes(out)
    status = DeviceIoControlImplementation(
        handle_value(handle, "DeviceIoControl"),
        code & MASK32,
        scratch + INPUT if size else 0,
        size,
        scratch + OUTPUT if out else 0,
        out,
        scratch,
        0,
    )
    if status >= 0x8000_0000:
        raise status_error(user, "DeviceIoControl", status)
    if not out:
        return b""
    try:
        at = user.mmu.user[user.root].write[user.page] - user.ram_address
    except KeyError:
        at = user.locate()
    size = user.words[at + 8 >> 3]
    at += OUTPUT
    return ram[at : at + (size if size < out else out)]


def _any_request(
    handle: Any, code: int, in_buffer: Any, out: Any, overlapped: OVERLAPPED | None
) -> Any:
    user = current_user("DeviceIoControl")
    number = handle_value(handle, "DeviceIoControl")
    buffers = place(user, in_buffer, out, "DeviceIoControl")
    block = begin(user, overlapped, "DeviceIoControl")
    status = DeviceIoControlImplementation(
        number, code & MASK32, buffers.input, buffers.input_size, buffers.output,
        buffers.output_size, user.scratch, block,
    )  # fmt: skip
    if overlapped is not None:
        return overlapped_result(user, overlapped, buffers, status, "DeviceIoControl")
    if status >> 30 >= 2:
        buffers.fail(user)
        raise status_error(user, "DeviceIoControl", status)
    return buffers.result(user, user.number(8))


def begin(user: UserThread, overlapped: Any, funcname: str) -> int:
    """The address of a request's OVERLAPPED, 0 for a synchronous one."""
    if overlapped is None:
        return 0
    return check_overlapped(overlapped, funcname).begin(user)


def overlapped_result(
    user: UserThread, overlapped: OVERLAPPED, buffers: Buffers, status: int, funcname: str
) -> Any:
    """What an overlapped call returns: the buffer that GetOverlappedResult will fill.

    A size gets a bytearray of that size; raw memory the pair itself.
    """
    if not is_raw(buffers.out) and buffers.view is None:
        buffers.out = bytearray(buffers.output_size)
        buffers.view = memoryview(buffers.out)
    start_request(user, overlapped, buffers, status, funcname)
    return buffers.out


def ReadFile(handle: Any, buffer: Any, overlapped: OVERLAPPED | None = None) -> tuple[int, Any]:
    """(0, data) of IRP_MJ_READ. `buffer` is a size, a writable buffer or `(address, length)`.

    (234, data) if there was more than fits; (997, buffer) for an overlapped read under way.
    """
    user = current_user("ReadFile")
    number = handle_value(handle, "ReadFile")
    buffers = place(user, None, buffer, "ReadFile")
    block = begin(user, overlapped, "ReadFile")
    status = kernelbase.ReadFile(number, buffers.output, buffers.output_size, user.scratch, block)
    if overlapped is not None:
        result = overlapped_result(user, overlapped, buffers, status, "ReadFile")
        return (winerror.ERROR_IO_PENDING if status == kernelbase.STATUS_PENDING else 0), result
    if status == STATUS_END_OF_FILE:
        return 0, buffers.result(user, 0)
    if status == STATUS_BUFFER_OVERFLOW:
        user.last_error = winerror.ERROR_MORE_DATA
        return winerror.ERROR_MORE_DATA, buffers.result(user, user.number(8))
    if status >> 30 >= 2:
        buffers.fail(user)
        raise status_error(user, "ReadFile", status)
    return 0, buffers.result(user, user.number(8))


def WriteFile(handle: Any, data: Any, overlapped: OVERLAPPED | None = None) -> tuple[int, int]:
    """(0, bytes written) of IRP_MJ_WRITE; (997, 0) for an overlapped write under way."""
    user = current_user("WriteFile")
    number = handle_value(handle, "WriteFile")
    buffers = place(user, data, 0, "WriteFile")
    block = begin(user, overlapped, "WriteFile")
    status = kernelbase.WriteFile(number, buffers.input, buffers.input_size, user.scratch, block)
    if overlapped is not None:
        pending = start_request(user, overlapped, buffers, status, "WriteFile")
        return (winerror.ERROR_IO_PENDING, 0) if pending else (0, overlapped.InternalHigh)
    if status >> 30 >= 2:
        buffers.fail(user)
        raise status_error(user, "WriteFile", status)
    buffers.release(user)
    return 0, user.number(8)


def FlushFileBuffers(handle: Any) -> None:
    """Send IRP_MJ_FLUSH_BUFFERS."""
    user = current_user("FlushFileBuffers")
    status = kernelbase.FlushFileBuffers(handle_value(handle, "FlushFileBuffers"))
    if status >> 30 == 3:
        raise status_error(user, "FlushFileBuffers", status)
