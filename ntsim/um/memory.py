"""VirtualAlloc and its kin, and access to memory by address."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from ntsim.abi import win32_constants as w
from ntsim.host import declarations as kernel_side
from ntsim.host.current import current_kernel
from ntsim.um import kernelbase, ntdll
from ntsim.um import thread as t
from ntsim.um.buffers import input_bytes
from ntsim.um.current import current_user, handle_value
from ntsim.um.errors import status_error, win32_error
from ntsim.um.memory_access import read_user, write_user

MASK64 = 0xFFFF_FFFF_FFFF_FFFF


class MEMORY_BASIC_INFORMATION(NamedTuple):
    """A region: VirtualQuery's answer."""

    BaseAddress: int
    AllocationBase: int
    AllocationProtect: int
    RegionSize: int
    State: int
    Protect: int
    Type: int


def VirtualAlloc(
    address: int | None, size: int, allocation_type: int, protect: int = w.PAGE_READWRITE
) -> int:
    """Reserve and/or commit pages; their address. `address` 0 or None: anywhere."""
    user = current_user("VirtualAlloc")
    status, made = kernelbase.VirtualAlloc(
        (address or 0) & MASK64, size & MASK64, allocation_type, protect
    )
    if status:
        raise status_error(user, "VirtualAlloc", status)
    return made


def VirtualFree(address: int, size: int, free_type: int) -> None:
    """Decommit pages, or with MEM_RELEASE and size 0 give the reservation back."""
    user = current_user("VirtualFree")
    if free_type == w.MEM_RELEASE and size:
        raise win32_error(user, "VirtualFree", 87)
    status = kernelbase.VirtualFree(address & MASK64, size & MASK64, free_type)
    if status:
        raise status_error(user, "VirtualFree", status)


def VirtualProtect(address: int, size: int, protect: int) -> int:
    """Change the protection of committed pages; the old one of the first."""
    user = current_user("VirtualProtect")
    status, old = kernelbase.VirtualProtect(address & MASK64, size & MASK64, protect)
    if status:
        raise status_error(user, "VirtualProtect", status)
    return old


def SetProcessWorkingSetSize(process: Any, minimum: int, maximum: int) -> None:
    """With -1 and -1: write every page of a process out that can be; they come back when touched.

    Other sizes are accepted and mean nothing.
    """
    user = current_user("SetProcessWorkingSetSize")
    where = "SetProcessWorkingSetSize"
    status = kernelbase.SetProcessWorkingSetSize(
        handle_value(process, where), minimum & MASK64, maximum & MASK64
    )
    if status:
        raise status_error(user, "SetProcessWorkingSetSize", status)


def VirtualQuery(address: int) -> MEMORY_BASIC_INFORMATION:
    """What is at an address."""
    user = current_user("VirtualQuery")
    status, data = kernelbase.VirtualQuery(address & MASK64)
    if status:
        raise status_error(user, "VirtualQuery", status)
    return MEMORY_BASIC_INFORMATION(*struct.unpack("<QQIxxxxQIIIxxxx", data))


def ReadProcessMemory(process: Any, address: int, size: int) -> bytes:
    """Bytes of a process's memory; ERROR_PARTIAL_COPY (299) if a page is not readable."""
    user = current_user("ReadProcessMemory")
    heap = user.process.heap
    block = heap.allocate(size)
    status = ntdll.NtReadVirtualMemory(
        handle_value(process, "ReadProcessMemory"), address & MASK64, block, size,
        user.scratch + t.RESULT,
    )  # fmt: skip
    data = b"" if status else user.mmu.read(block, size)
    heap.free(block)
    if status:
        raise status_error(user, "ReadProcessMemory", status)
    return data


def WriteProcessMemory(process: Any, address: int, data: Any) -> int:
    """Write to a process's memory; the bytes written."""
    user = current_user("WriteProcessMemory")
    content = input_bytes(data, "the data of WriteProcessMemory")
    heap = user.process.heap
    block = heap.allocate(len(content))
    user.mmu.write(block, content)
    status = ntdll.NtWriteVirtualMemory(
        handle_value(process, "WriteProcessMemory"), address & MASK64, block, len(content),
        user.scratch + t.RESULT,
    )  # fmt: skip
    heap.free(block)
    if status:
        raise status_error(user, "WriteProcessMemory", status)
    return user.number(t.RESULT)


def read_bytes(address: int, length: int) -> bytes:
    """Memory by address, as the running code may: an access violation where nothing is.

    In a driver it is `ntsim.wdm`'s routine of this name, so that a file which takes both headers
    may use either.
    """
    nt = current_kernel("read_bytes")
    if nt.in_user_mode():
        return read_user(nt, int(address), int(length))
    return kernel_side.read_bytes(address, length)


def write_bytes(address: int, data: Any) -> None:
    """Write memory by address; see `read_bytes`."""
    nt = current_kernel("write_bytes")
    if nt.in_user_mode():
        write_user(nt, int(address), input_bytes(data, "the data of write_bytes"))
    else:
        kernel_side.write_bytes(address, data)
