"""Arguments and results of system services that lie in the caller's memory.

What user mode passes is probed and copied before it is looked at; what a service hands back is
probed before it is written. A driver's arguments (previous mode kernel) are taken as they are.
Failures are structured exceptions: a service turns them into its status with `@system_service`.
Source: WDK "PreviousMode"; Windows Internals 7, part 2, chapter 8, "System service dispatching".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from ntsim.abi.rtl import OBJECT_ATTRIBUTES
from ntsim.abi.wdm_constants import OBJ_KERNEL_HANDLE
from ntsim.nt.mm.probe import mm_probe
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

T = TypeVar("T")
OBJ_OPENIF = 0x80
_UNICODE_STRING_SIZE = 0x10
assert OBJECT_ATTRIBUTES.size == 0x30


def system_service(function: Callable[..., int]) -> Callable[..., int]:
    """A service whose bad arguments end in a status. Only for those that call no driver code."""

    @wraps(function)
    def guarded(nt: Kernel, *arguments: Any) -> int:
        try:
            return function(nt, *arguments)
        except StructuredException as error:
            return error.ExceptionCode

    return guarded


def in_kernel_mode(nt: Kernel, service: Callable[..., T], *arguments: Any) -> T:
    """A Zw routine: the service with previous mode kernel, as its stub's second entry arranges."""
    v = nt.thread.v
    before = v.PreviousMode
    v.PreviousMode = 0
    try:
        return service(nt, *arguments)
    finally:
        v.PreviousMode = before


def read_argument(nt: Kernel, address: int, size: int) -> bytes:
    """Copy `size` bytes of the caller's memory."""
    if nt.thread.v.PreviousMode:
        mm_probe(nt, address, size, 1)
    return nt.mmu.read(address, size)


def read_number(nt: Kernel, address: int, size: int = 8, signed: bool = False) -> int:
    """A little-endian integer of the caller's."""
    return int.from_bytes(read_argument(nt, address, size), "little", signed=signed)


def write_result(nt: Kernel, address: int, data: bytes) -> None:
    """Store bytes in the caller's memory."""
    if nt.thread.v.PreviousMode:
        mm_probe(nt, address, len(data), 1)
    nt.mmu.write(address, data)


def write_number(nt: Kernel, address: int, value: int, size: int = 8) -> None:
    """Store an integer of `size` bytes for the caller; nothing at NULL."""
    if address:
        write_result(nt, address, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))


class Interval:
    """A timeout that was copied from the caller: 100 ns units, negative is relative."""

    __slots__ = ("QuadPart",)

    def __init__(self, value: int) -> None:
        self.QuadPart = value


def read_timeout(nt: Kernel, address: int) -> Interval | None:
    """The caller's timeout, None for a NULL pointer: wait for ever."""
    return Interval(read_number(nt, address, 8, signed=True)) if address else None


def read_unicode_string(nt: Kernel, address: int) -> str:
    """The text of the caller's UNICODE_STRING; empty for a NULL pointer."""
    if not address:
        return ""
    header = read_argument(nt, address, _UNICODE_STRING_SIZE)
    length = int.from_bytes(header[:2], "little")
    buffer = int.from_bytes(header[8:], "little")
    return read_argument(nt, buffer, length).decode("utf-16-le", "replace") if length else ""


@dataclass(slots=True)
class Attributes:
    """OBJECT_ATTRIBUTES, copied: root directory handle, name, OBJ_* flags."""

    root: int = 0
    name: str = ""
    flags: int = 0


def read_attributes(nt: Kernel, address: int) -> Attributes:
    """The caller's OBJECT_ATTRIBUTES; empty for a NULL pointer.

    User mode cannot ask for kernel handles: OBJ_KERNEL_HANDLE is dropped.
    """
    if not address:
        return Attributes()
    data = read_argument(nt, address, OBJECT_ATTRIBUTES.size)
    root, name = (int.from_bytes(data[i : i + 8], "little") for i in (8, 16))
    flags = int.from_bytes(data[24:28], "little")
    if nt.thread.v.PreviousMode:
        flags &= ~OBJ_KERNEL_HANDLE
    return Attributes(root, read_unicode_string(nt, name), flags)
