"""System services of virtual memory, and their Zw twins for drivers.

Source: WDK ZwAllocateVirtualMemory, ZwFreeVirtualMemory, ZwQueryVirtualMemory; Win32
VirtualProtect, ReadProcessMemory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.scalars import HANDLE, NTSTATUS, PVOID, SIZE_T, ULONG, ULONG_PTR
from ntsim.nt.ex.arguments import (
    in_kernel_mode,
    read_argument,
    read_number,
    system_service,
    write_number,
    write_result,
)
from ntsim.nt.exports import export
from ntsim.nt.mm.probe import mm_probe
from ntsim.nt.mm.virtual import (
    basic_information,
    in_address_space,
    mi_allocate,
    mi_free,
    mi_protect,
    mi_query,
)
from ntsim.nt.ob.handles import ob_reference_by_handle
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.ps.process import Process

VM_OPERATION, VM_READ, VM_WRITE, QUERY_INFORMATION = 0x8, 0x10, 0x20, 0x400
MEMORY_BASIC_INFORMATION_SIZE = len(basic_information(0, 0, 0, 0, 0, 0, 0))


def mm_process(nt: Kernel, handle: int, access: int) -> tuple[int, Process | None]:
    """(status, process) of a handle; the object is not kept referenced."""
    kind, mode = nt.ps.process_type, nt.thread.v.PreviousMode
    status, body, _ = ob_reference_by_handle(nt, handle, access, kind, mode)
    if status:
        return status, None
    nt.ob.dereference(body)
    return status, nt.ps.by_address[body]


@system_service
def NtAllocateVirtualMemory(
    nt: Kernel,
    ProcessHandle: HANDLE,
    BaseAddress: PVOID,
    ZeroBits: ULONG_PTR,
    RegionSize: PVOID,
    AllocationType: ULONG,
    Protect: ULONG,
) -> NTSTATUS:
    """Reserve and/or commit pages of a process; base and size are read and written back.

    Up to 21 ZeroBits are so many leading zeros of a 32-bit address, from 32 on they are a mask of
    which the leading zeros count; neither says anything about an address that the caller chose.
    """
    if 21 < ZeroBits < 32:
        return ntstatus.STATUS_INVALID_PARAMETER_3
    base, size = read_number(nt, BaseAddress), read_number(nt, RegionSize)
    status, process = mm_process(nt, ProcessHandle, VM_OPERATION)
    if process is None:
        return status
    status, base, size = mi_allocate(
        nt, process.user, base, size, AllocationType, Protect, ZeroBits
    )
    if not status:
        write_number(nt, BaseAddress, base)
        write_number(nt, RegionSize, size)
    return status


@system_service
def NtFreeVirtualMemory(
    nt: Kernel, ProcessHandle: HANDLE, BaseAddress: PVOID, RegionSize: PVOID, FreeType: ULONG
) -> NTSTATUS:
    """Decommit pages or release a reservation; base and size are read and written back."""
    base, size = read_number(nt, BaseAddress), read_number(nt, RegionSize)
    status, process = mm_process(nt, ProcessHandle, VM_OPERATION)
    if process is None:
        return status
    status, base, size = mi_free(process.user, base, size, FreeType)
    if not status:
        write_number(nt, BaseAddress, base)
        write_number(nt, RegionSize, size)
    return status


@system_service
def NtProtectVirtualMemory(
    nt: Kernel,
    ProcessHandle: HANDLE,
    BaseAddress: PVOID,
    RegionSize: PVOID,
    NewProtect: ULONG,
    OldProtect: PVOID,
) -> NTSTATUS:
    """Change the protection of committed pages; the old one of the first is handed back."""
    base, size = read_number(nt, BaseAddress), read_number(nt, RegionSize)
    status, process = mm_process(nt, ProcessHandle, VM_OPERATION)
    if process is None:
        return status
    status, base, size, old = mi_protect(process.user, base, size, NewProtect)
    if not status:
        write_number(nt, BaseAddress, base)
        write_number(nt, RegionSize, size)
        write_number(nt, OldProtect, old, 4)
    return status


@system_service
def NtQueryVirtualMemory(
    nt: Kernel,
    ProcessHandle: HANDLE,
    BaseAddress: PVOID,
    MemoryInformationClass: ULONG,
    MemoryInformation: PVOID,
    MemoryInformationLength: SIZE_T,
    ReturnLength: PVOID,
) -> NTSTATUS:
    """MemoryBasicInformation (class 0) of the region at an address."""
    if MemoryInformationClass:
        return ntstatus.STATUS_INVALID_INFO_CLASS
    if MemoryInformationLength < MEMORY_BASIC_INFORMATION_SIZE:
        return ntstatus.STATUS_INFO_LENGTH_MISMATCH
    status, process = mm_process(nt, ProcessHandle, QUERY_INFORMATION)
    if process is None:
        return status
    if BaseAddress >> 47:
        return ntstatus.STATUS_INVALID_PARAMETER
    write_result(nt, MemoryInformation, mi_query(process.user, BaseAddress))
    write_number(nt, ReturnLength, MEMORY_BASIC_INFORMATION_SIZE)
    return ntstatus.STATUS_SUCCESS


@system_service
def NtReadVirtualMemory(
    nt: Kernel,
    ProcessHandle: HANDLE,
    BaseAddress: PVOID,
    Buffer: PVOID,
    BufferSize: SIZE_T,
    NumberOfBytesRead: PVOID,
) -> NTSTATUS:
    """Copy from a process into the caller's memory; STATUS_PARTIAL_COPY if a page is not there."""
    status, process = mm_process(nt, ProcessHandle, VM_READ)
    if process is None:
        return status
    status, data = mi_read_from(nt, process, BaseAddress, BufferSize)
    write_result(nt, Buffer, data)
    write_number(nt, NumberOfBytesRead, len(data))
    return status


def mi_read_from(nt: Kernel, process: Process, address: int, size: int) -> tuple[int, bytes]:
    """(status, bytes up to the first page that cannot be read)."""
    data = bytearray()
    try:
        mm_probe(nt, address, size, 1)
        with in_address_space(nt, process):
            while len(data) < size:
                at = address + len(data)
                data += nt.mmu.read(at, min(size - len(data), 0x1000 - (at & 0xFFF)))
    except StructuredException:
        return ntstatus.STATUS_PARTIAL_COPY, bytes(data)
    return ntstatus.STATUS_SUCCESS, bytes(data)


@system_service
def NtWriteVirtualMemory(
    nt: Kernel,
    ProcessHandle: HANDLE,
    BaseAddress: PVOID,
    Buffer: PVOID,
    BufferSize: SIZE_T,
    NumberOfBytesWritten: PVOID,
) -> NTSTATUS:
    """Copy from the caller's memory into a process; STATUS_PARTIAL_COPY if a page refuses."""
    status, process = mm_process(nt, ProcessHandle, VM_WRITE | VM_OPERATION)
    if process is None:
        return status
    data = read_argument(nt, Buffer, BufferSize)
    done = 0
    try:
        mm_probe(nt, BaseAddress, BufferSize, 1)
        with in_address_space(nt, process):
            while done < BufferSize:
                at = BaseAddress + done
                step = min(BufferSize - done, 0x1000 - (at & 0xFFF))
                nt.mmu.write(at, data[done : done + step])
                done += step
    except StructuredException:
        status = ntstatus.STATUS_PARTIAL_COPY
    write_number(nt, NumberOfBytesWritten, done)
    return status


def zw(nt: Kernel, service: Any, *arguments: Any) -> int:
    """A service with a driver's arguments, which may be typed pointers."""
    status: int = in_kernel_mode(nt, service, *(int(a) for a in arguments))
    return status


@export(irql="== PASSIVE")
def ZwAllocateVirtualMemory(
    nt: Kernel,
    ProcessHandle: HANDLE,
    BaseAddress: PVOID,
    ZeroBits: ULONG_PTR,
    RegionSize: PVOID,
    AllocationType: ULONG,
    Protect: ULONG,
) -> NTSTATUS:
    """Reserve and/or commit pages; BaseAddress and RegionSize point to variables. Source: WDK."""
    return zw(
        nt, NtAllocateVirtualMemory, ProcessHandle, BaseAddress, ZeroBits, RegionSize,
        AllocationType, Protect,
    )  # fmt: skip


@export(irql="== PASSIVE")
def ZwFreeVirtualMemory(
    nt: Kernel, ProcessHandle: HANDLE, BaseAddress: PVOID, RegionSize: PVOID, FreeType: ULONG
) -> NTSTATUS:
    """Decommit or release pages. Source: WDK ZwFreeVirtualMemory."""
    return zw(nt, NtFreeVirtualMemory, ProcessHandle, BaseAddress, RegionSize, FreeType)


@export(irql="== PASSIVE")
def ZwProtectVirtualMemory(
    nt: Kernel,
    ProcessHandle: HANDLE,
    BaseAddress: PVOID,
    RegionSize: PVOID,
    NewProtect: ULONG,
    OldProtect: PVOID,
) -> NTSTATUS:
    """Change the protection of committed pages. Source: ntifs.h."""
    return zw(
        nt, NtProtectVirtualMemory, ProcessHandle, BaseAddress, RegionSize, NewProtect, OldProtect
    )


@export(irql="== PASSIVE")
def ZwQueryVirtualMemory(
    nt: Kernel,
    ProcessHandle: HANDLE,
    BaseAddress: PVOID,
    MemoryInformationClass: ULONG,
    MemoryInformation: PVOID,
    MemoryInformationLength: SIZE_T,
    ReturnLength: PVOID,
) -> NTSTATUS:
    """MemoryBasicInformation of the region at an address. Source: WDK ZwQueryVirtualMemory."""
    return zw(
        nt, NtQueryVirtualMemory, ProcessHandle, BaseAddress, MemoryInformationClass,
        MemoryInformation, MemoryInformationLength, ReturnLength,
    )  # fmt: skip
