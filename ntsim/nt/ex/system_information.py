"""ZwQuerySystemInformation and ZwQueryInformationProcess: the classes that drivers ask for.

Layouts: winsiderss/phnt ntexapi.h and ntpsapi.h; Win32 NtQuerySystemInformation page. A class that
is not answered here is STATUS_INVALID_INFO_CLASS.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import HANDLE, NTSTATUS, PVOID, ULONG
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.ex.arguments import in_kernel_mode
from ntsim.nt.exports import OutOpt, export
from ntsim.nt.ke.thread import WAITING, Thread
from ntsim.nt.mm import layout
from ntsim.nt.mm.images import Image
from ntsim.nt.mm.services import QUERY_INFORMATION, mm_process
from ntsim.nt.mm.user_space import GRANULARITY

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.ps.process import Process

BASIC, TIME_OF_DAY, PROCESSES, MODULES, HANDLES, KERNEL_DEBUGGER = 0, 3, 5, 11, 16, 35
PROCESS_ENTRY, THREAD_ENTRY, MODULE_ENTRY = 0x100, 0x50, 0x128


def ex_basic(nt: Kernel, address: int) -> bytes:
    """SYSTEM_BASIC_INFORMATION, 0x40 bytes."""
    pages = nt.mm.ram.size // PAGE_SIZE
    head = struct.pack("<IIIIIII", 0, 156250, PAGE_SIZE, pages, 1, pages - 1, GRANULARITY)
    bounds = (layout.LOWEST_USER, layout.HIGHEST_USER | 0xFFFF, nt.ke.active_mask)
    return struct.pack("<28s4xQQQb7x", head, *bounds, len(nt.processors))


def ex_time_of_day(nt: Kernel, address: int) -> bytes:
    """SYSTEM_TIMEOFDAY_INFORMATION, 0x30 bytes: boot time, current time, no zone bias."""
    return struct.pack("<qqqIIQQ", nt.ke.boot_time, nt.ke.system_time, 0, 0, 0, 0, 0)


def thread_entry(thread: Thread) -> bytes:
    """SYSTEM_THREAD_INFORMATION, 0x50 bytes."""
    e, v = thread.ethread._v, thread.v
    reason = v.WaitReason if v.State == WAITING else 0
    head = struct.pack("<qqqI4x", 0, 0, e.CreateTime_QuadPart, 0)
    ids = struct.pack("<QQQ", e.StartAddress, thread.process.pid, thread.tid)
    return head + ids + struct.pack("<iiIII4x", v.Priority, v.BasePriority, 0, v.State, reason)


def process_entry(process: Process, name_at: int) -> bytes:
    """SYSTEM_PROCESS_INFORMATION without its threads and name, NextEntryOffset 0."""
    e = process.e._v
    name = process.name.encode("utf-16-le")
    text = struct.pack("<HH4xQ", len(name), len(name) + 2, name_at)
    head = struct.pack("<II", 0, len(process.threads)) + bytes(24)
    times = struct.pack("<qqq", e.CreateTime_QuadPart, 0, 0)
    parent = e.InheritedFromUniqueProcessId
    ids = struct.pack("<i4xQQI", e.Pcb_BasePriority, process.pid, parent, process.handles.count)
    return (head + times + text + ids).ljust(PROCESS_ENTRY, b"\0")


def ex_processes(nt: Kernel, address: int) -> bytes:
    """SYSTEM_PROCESS_INFORMATION of every process that lives, each with its threads."""
    found = [p for p in nt.ps.processes if p.exit_code is None]
    made = b""
    for process in found:
        threads = b"".join(thread_entry(thread) for thread in process.threads)
        name = process.name.encode("utf-16-le") + b"\0\0"
        at = address + len(made) + PROCESS_ENTRY + len(threads)
        entry = process_entry(process, at) + threads + name
        entry += bytes(-len(entry) % 8)
        if process is not found[-1]:
            entry = len(entry).to_bytes(4, "little") + entry[4:]
        made += entry
    return made


def module_entry(image: Image, index: int) -> bytes:
    """RTL_PROCESS_MODULE_INFORMATION, 0x128 bytes."""
    folder = "\\SystemRoot\\system32\\"
    if image.file_name.lower() not in ("ntoskrnl.exe", "hal.dll"):
        folder += "DRIVERS\\"
    path = (folder + image.file_name).encode("latin-1", "replace")[:255]
    head = struct.pack("<QQQI", 0, 0, image.base, image.size)
    order = struct.pack("<IHHHH", 0x0880_4000, index, 0, 1, len(folder))
    return head + order + path.ljust(256, b"\0")


def ex_modules(nt: Kernel, address: int) -> bytes:
    """RTL_PROCESS_MODULES: the kernel first, then drivers in the order of loading."""
    images = [i for i in nt.images.loaded if i.base >= layout.HIGHEST_USER]
    images.sort(key=lambda image: image is not nt.nt_image)
    entries = [module_entry(image, i) for i, image in enumerate(images)]
    return struct.pack("<I4x", len(entries)) + b"".join(entries)


def ex_handles(nt: Kernel, address: int) -> bytes:
    """SYSTEM_HANDLE_INFORMATION: 24 bytes for each handle of each process."""
    made = []
    for process in nt.ps.processes:
        if process.exit_code is not None:
            continue
        for handle in process.handles.handles():
            found = process.handles.lookup(handle)
            assert found is not None
            body, access = found
            kind = nt.ob.type_of(body).index
            made.append(
                struct.pack("<HHBBHQI4x", process.pid, 0, kind, 0, handle & 0xFFFF, body, access)
            )
    return struct.pack("<I4x", len(made)) + b"".join(made)


def ex_kernel_debugger(nt: Kernel, address: int) -> bytes:
    """SYSTEM_KERNEL_DEBUGGER_INFORMATION: not enabled, not present."""
    return b"\0\1"


ANSWERS: dict[int, Callable[[Kernel, int], bytes]] = {
    BASIC: ex_basic,
    TIME_OF_DAY: ex_time_of_day,
    PROCESSES: ex_processes,
    MODULES: ex_modules,
    HANDLES: ex_handles,
    KERNEL_DEBUGGER: ex_kernel_debugger,
}
_EXACT = (BASIC,)
_UP_TO = (TIME_OF_DAY,)


def ex_answer(
    nt: Kernel, data: bytes, buffer: int, length: int, returned: OutOpt[ULONG], exact: bool
) -> int:
    """Store an answer; too little room (or, if `exact`, another size) is a length mismatch."""
    if returned:
        returned[0] = len(data)
    if length < len(data) or (exact and length != len(data)):
        return ntstatus.STATUS_INFO_LENGTH_MISMATCH
    nt.mmu.write(buffer, data)
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def ZwQuerySystemInformation(
    nt: Kernel,
    SystemInformationClass: ULONG,
    SystemInformation: PVOID,
    SystemInformationLength: ULONG,
    ReturnLength: OutOpt[ULONG],
) -> NTSTATUS:
    """Basic (0), time of day (3), processes (5), modules (11), handles (16), debugger (35).

    Too little room is STATUS_INFO_LENGTH_MISMATCH with the size in *ReturnLength. Source: Win32
    NtQuerySystemInformation; winsiderss/phnt.
    """
    answer = ANSWERS.get(SystemInformationClass)
    if answer is None:
        return ntstatus.STATUS_INVALID_INFO_CLASS
    data = answer(nt, SystemInformation)
    if SystemInformationClass in _UP_TO and SystemInformationLength < len(data):
        data = data[:SystemInformationLength]
    exact = SystemInformationClass in _EXACT
    return ex_answer(nt, data, SystemInformation, SystemInformationLength, ReturnLength, exact)


PROCESS_BASIC, PROCESS_DEBUG_PORT, PROCESS_WOW64, PROCESS_IMAGE_NAME = 0, 7, 26, 27


def psp_information(nt: Kernel, process: Process, kind: int, address: int) -> bytes | None:
    """The answer to a PROCESSINFOCLASS; None for one that is not modelled."""
    e = process.e._v
    if kind == PROCESS_BASIC:
        status = ntstatus.STATUS_PENDING if process.exit_code is None else process.exit_code
        affinity, parent = nt.ke.active_mask, e.InheritedFromUniqueProcessId
        return struct.pack(
            "<I4xQQi4xQQ", status & 0xFFFF_FFFF, e.Peb, affinity, e.Pcb_BasePriority, process.pid,
            parent,
        )  # fmt: skip
    if kind in (PROCESS_DEBUG_PORT, PROCESS_WOW64):
        return bytes(8)
    if kind == PROCESS_IMAGE_NAME:
        path = "" if process.um is None else f"\\Device\\HarddiskVolume1\\{process.name}"
        name = path.encode("utf-16-le")
        head = struct.pack("<HH4xQ", len(name), len(name) + 2 if name else 0, address + 16)
        return head + name + b"\0\0" if name else bytes(16)
    return None


@export(irql="== PASSIVE")
def ZwQueryInformationProcess(
    nt: Kernel,
    ProcessHandle: HANDLE,
    ProcessInformationClass: ULONG,
    ProcessInformation: PVOID,
    ProcessInformationLength: ULONG,
    ReturnLength: OutOpt[ULONG],
) -> NTSTATUS:
    """ProcessBasicInformation (0), debug port (7), WOW64 (26), image file name (27).

    Fixed sizes must match (STATUS_INFO_LENGTH_MISMATCH). Source: Win32 NtQueryInformationProcess.
    """
    status, process = in_kernel_mode(nt, mm_process, ProcessHandle, QUERY_INFORMATION)
    if process is None:
        return status
    data = psp_information(nt, process, ProcessInformationClass, ProcessInformation)
    if data is None:
        return ntstatus.STATUS_INVALID_INFO_CLASS
    exact = ProcessInformationClass != PROCESS_IMAGE_NAME
    length = ProcessInformationLength
    return ex_answer(nt, data, ProcessInformation, length, ReturnLength, exact)
