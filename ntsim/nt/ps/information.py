"""Querying and setting what is known of processes, threads and the system.

Source: Win32 GetExitCodeProcess, SetThreadAffinityMask, GetSystemInfo; winternl.h for the layouts.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import HANDLE, NTSTATUS, PVOID, ULONG
from ntsim.hw.clock import TICK_100NS
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.ex.arguments import (
    in_kernel_mode,
    read_number,
    system_service,
    write_number,
    write_result,
)
from ntsim.nt.exports import export
from ntsim.nt.ke.affinity import ki_set_affinity
from ntsim.nt.ke.scheduler import DISPATCH_VECTOR, ki_requeue, ki_set_priority
from ntsim.nt.ke.thread import RUNNING
from ntsim.nt.mm import layout
from ntsim.nt.mm.user_space import GRANULARITY
from ntsim.nt.mm.working_set import mi_empty_working_set
from ntsim.nt.ps.services import psp_reference
from ntsim.nt.ps.token import PsAssignImpersonationToken

if TYPE_CHECKING:
    from ntsim.nt.ke.thread import Thread
    from ntsim.nt.kernel import Kernel

PROCESS_QUERY_LIMITED, THREAD_QUERY_LIMITED, THREAD_SET_INFORMATION = 0x1000, 0x800, 0x20
THREAD_BASE_PRIORITY, THREAD_AFFINITY_MASK, THREAD_IMPERSONATION_TOKEN = 3, 4, 5
PROCESS_QUOTA_LIMITS, QUOTA_LIMITS_SIZE, PROCESS_SET_QUOTA = 1, 0x30, 0x100
STATUS_PENDING = 0x103
NORMAL_PRIORITY = 8


def give(nt: Kernel, data: bytes, buffer: int, length: int, returned: int) -> int:
    """Hand an information structure back; the buffer must have its exact size."""
    if length != len(data):
        return ntstatus.STATUS_INFO_LENGTH_MISMATCH
    write_result(nt, buffer, data)
    write_number(nt, returned, len(data), 4)
    return ntstatus.STATUS_SUCCESS


@system_service
def NtQueryInformationProcess(
    nt: Kernel,
    ProcessHandle: HANDLE,
    ProcessInformationClass: ULONG,
    ProcessInformation: PVOID,
    ProcessInformationLength: ULONG,
    ReturnLength: PVOID,
) -> NTSTATUS:
    """ProcessBasicInformation (class 0): exit status, PEB, affinity, priority, id."""
    if ProcessInformationClass:
        return ntstatus.STATUS_INVALID_INFO_CLASS
    status, process = psp_reference(nt, ProcessHandle, PROCESS_QUERY_LIMITED, nt.ps.process_type)
    if process is None:
        return status
    v = process.e._v
    exit_status = v.ExitStatus if v.Pcb_Header_SignalState else STATUS_PENDING
    data = struct.pack(
        "<QQQQQQ", exit_status & 0xFFFF_FFFF, v.Peb, nt.ke.active_mask, v.Pcb_BasePriority,
        process.pid, nt.ps.system.pid,
    )  # fmt: skip
    nt.ob.dereference(process.va)
    return give(nt, data, ProcessInformation, ProcessInformationLength, ReturnLength)


@system_service
def NtQueryInformationThread(
    nt: Kernel,
    ThreadHandle: HANDLE,
    ThreadInformationClass: ULONG,
    ThreadInformation: PVOID,
    ThreadInformationLength: ULONG,
    ReturnLength: PVOID,
) -> NTSTATUS:
    """ThreadBasicInformation (class 0): exit status, TEB, ids, affinity, priorities."""
    if ThreadInformationClass:
        return ntstatus.STATUS_INVALID_INFO_CLASS
    status, thread = psp_reference(nt, ThreadHandle, THREAD_QUERY_LIMITED, nt.ps.thread_type)
    if thread is None:
        return status
    v = thread.v
    exit_status = STATUS_PENDING if thread.exit_status is None else thread.exit_status
    data = struct.pack(
        "<QQQQQii", exit_status & 0xFFFF_FFFF, v.Teb, thread.process.pid, thread.tid,
        v.UserAffinity_Mask, v.Priority, v.BasePriority,
    )  # fmt: skip
    nt.ob.dereference(thread.va)
    return give(nt, data, ThreadInformation, ThreadInformationLength, ReturnLength)


_THREAD_SIZES = {THREAD_BASE_PRIORITY: 4, THREAD_AFFINITY_MASK: 8, THREAD_IMPERSONATION_TOKEN: 8}


@system_service
def NtSetInformationProcess(
    nt: Kernel,
    ProcessHandle: HANDLE,
    ProcessInformationClass: ULONG,
    ProcessInformation: PVOID,
    ProcessInformationLength: ULONG,
) -> NTSTATUS:
    """ProcessQuotaLimits (1) with both working-set sizes -1: the working set is emptied.

    Limits have no other meaning here: a working set is as large as it gets.
    """
    if ProcessInformationClass != PROCESS_QUOTA_LIMITS:
        return ntstatus.STATUS_INVALID_INFO_CLASS
    if ProcessInformationLength != QUOTA_LIMITS_SIZE:
        return ntstatus.STATUS_INFO_LENGTH_MISMATCH
    least = read_number(nt, ProcessInformation + 0x10)
    most = read_number(nt, ProcessInformation + 0x18)
    status, process = psp_reference(nt, ProcessHandle, PROCESS_SET_QUOTA, nt.ps.process_type)
    if process is None:
        return status
    if least == most == (1 << 64) - 1:
        mi_empty_working_set(nt, process)
    nt.ob.dereference(process.va)
    return ntstatus.STATUS_SUCCESS


@system_service
def NtSetInformationThread(
    nt: Kernel,
    ThreadHandle: HANDLE,
    ThreadInformationClass: ULONG,
    ThreadInformation: PVOID,
    ThreadInformationLength: ULONG,
) -> NTSTATUS:
    """ThreadBasePriority (3: a signed increment), ThreadAffinityMask (4) and
    ThreadImpersonationToken (5: a token's handle, 0 to stop impersonating)."""
    size = _THREAD_SIZES.get(ThreadInformationClass)
    if size is None:
        return ntstatus.STATUS_INVALID_INFO_CLASS
    if ThreadInformationLength != size:
        return ntstatus.STATUS_INFO_LENGTH_MISMATCH
    affinity = ThreadInformationClass == THREAD_AFFINITY_MASK
    value = read_number(nt, ThreadInformation, size, signed=size == 4)
    status, thread = psp_reference(nt, ThreadHandle, THREAD_SET_INFORMATION, nt.ps.thread_type)
    if thread is None:
        return status
    if affinity:
        status = psp_set_affinity(nt, thread, value)
    elif ThreadInformationClass == THREAD_IMPERSONATION_TOKEN:
        status = PsAssignImpersonationToken(nt, thread.ethread, value)
    else:
        status = psp_set_base_priority(nt, thread, value)
    nt.ob.dereference(thread.va)
    return status


def psp_set_affinity(nt: Kernel, thread: Thread, mask: int) -> int:
    """Where a user thread may run; a processor that the machine lacks is an invalid parameter."""
    if not mask or mask & ~nt.ke.active_mask:
        return ntstatus.STATUS_INVALID_PARAMETER
    thread.v.UserAffinity_Mask = mask
    if thread is nt.thread:
        ki_set_affinity(nt, mask)
        return ntstatus.STATUS_SUCCESS
    thread.v.Affinity_Mask = mask
    ki_requeue(nt, thread)
    number = thread.v.NextProcessor
    if thread.v.State == RUNNING and not mask >> number & 1:
        nt.processors[number].apic.request(DISPATCH_VECTOR)
    return ntstatus.STATUS_SUCCESS


def psp_set_base_priority(nt: Kernel, thread: Thread, increment: int) -> int:
    """THREAD_PRIORITY_*: -2 to 2 around the process's, or idle (-15: 1), time critical (15: 15)."""
    if increment not in (-15, -2, -1, 0, 1, 2, 15):
        return ntstatus.STATUS_INVALID_PARAMETER
    priority = {-15: 1, 15: 15}.get(increment, NORMAL_PRIORITY + increment)
    thread.v.BasePriority = priority
    ki_set_priority(nt, thread, priority)
    return ntstatus.STATUS_SUCCESS


@system_service
def NtQuerySystemInformation(
    nt: Kernel,
    SystemInformationClass: ULONG,
    SystemInformation: PVOID,
    SystemInformationLength: ULONG,
    ReturnLength: PVOID,
) -> NTSTATUS:
    """SystemBasicInformation (class 0)."""
    if SystemInformationClass:
        return ntstatus.STATUS_INVALID_INFO_CLASS
    pages = nt.mm.ram.size // PAGE_SIZE
    data = struct.pack(
        "<IIIIIIIxxxxQQQQ", 0, TICK_100NS, PAGE_SIZE, pages, 1, pages - 1, GRANULARITY,
        layout.LOWEST_USER, layout.HIGHEST_USER, nt.ke.active_mask, len(nt.processors),
    )  # fmt: skip
    return give(nt, data, SystemInformation, SystemInformationLength, ReturnLength)


@export(irql="== PASSIVE")
def ZwQueryInformationThread(
    nt: Kernel,
    ThreadHandle: HANDLE,
    ThreadInformationClass: ULONG,
    ThreadInformation: PVOID,
    ThreadInformationLength: ULONG,
    ReturnLength: PVOID,
) -> NTSTATUS:
    """NtQueryInformationThread for kernel mode. Source: Win32 NtQueryInformationThread."""
    return in_kernel_mode(
        nt, NtQueryInformationThread, ThreadHandle, ThreadInformationClass, int(ThreadInformation),
        ThreadInformationLength, int(ReturnLength),
    )  # fmt: skip


@export(irql="== PASSIVE")
def ZwSetInformationThread(
    nt: Kernel,
    ThreadHandle: HANDLE,
    ThreadInformationClass: ULONG,
    ThreadInformation: PVOID,
    ThreadInformationLength: ULONG,
) -> NTSTATUS:
    """NtSetInformationThread for kernel mode. Source: WDK ZwSetInformationThread."""
    return in_kernel_mode(
        nt, NtSetInformationThread, ThreadHandle, ThreadInformationClass, int(ThreadInformation),
        ThreadInformationLength,
    )  # fmt: skip
