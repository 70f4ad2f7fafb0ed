"""System services on processes and threads.

Source: WDK ZwTerminateProcess, ZwOpenProcess; Win32 CreateThread, TerminateThread, Sleep for what
user mode relies on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.scalars import ACCESS_MASK, BOOLEAN, HANDLE, NTSTATUS, PVOID, SIZE_T, ULONG
from ntsim.nt.ex.arguments import (
    read_argument,
    read_number,
    read_timeout,
    system_service,
    write_number,
)
from ntsim.nt.exports import Out, export
from ntsim.nt.ke.scheduler import DISPATCH_VECTOR
from ntsim.nt.ke.thread import INITIALIZED
from ntsim.nt.ke.wait import DELAY_EXECUTION, WAIT_ANY, ki_wait
from ntsim.nt.ob.handles import map_generic, ob_reference_by_handle
from ntsim.nt.ob.insert import ob_insert_handle
from ntsim.nt.ps.terminate import (
    psp_leave,
    psp_terminate_others,
    psp_terminate_process,
    psp_terminate_thread,
)

if TYPE_CHECKING:
    from ntsim.abi.rtl import PCLIENT_ID, POBJECT_ATTRIBUTES
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.ob.objects import ObjectType

CREATE_SUSPENDED = 1
FOREVER = -(1 << 63)
PROCESS_TERMINATE, PROCESS_CREATE_THREAD = 1, 2
THREAD_TERMINATE, THREAD_SUSPEND_RESUME = 1, 2


def psp_reference(nt: Kernel, handle: int, access: int, kind: ObjectType) -> tuple[int, Any]:
    """(status, Process or Thread) of a handle, referenced on success."""
    mode = nt.thread.v.PreviousMode
    status, body, _ = ob_reference_by_handle(nt, handle, access, kind, mode)
    return (status, None) if status else (status, nt.ob.bodies[body])


@system_service
def NtCreateThreadEx(
    nt: Kernel,
    ThreadHandle: PVOID,
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: PVOID,
    ProcessHandle: HANDLE,
    StartRoutine: PVOID,
    Argument: PVOID,
    CreateFlags: ULONG,
    ZeroBits: SIZE_T,
    StackSize: SIZE_T,
    MaximumStackSize: SIZE_T,
    AttributeList: PVOID,
) -> NTSTATUS:
    """A thread of a process that runs StartRoutine(Argument) in user mode."""
    status, process = psp_reference(nt, ProcessHandle, PROCESS_CREATE_THREAD, nt.ps.process_type)
    if process is None:
        return status
    if process.exit_code is not None or process.um is None:
        nt.ob.dereference(process.va)
        return ntstatus.STATUS_PROCESS_IS_TERMINATING
    thread = process.um.create_thread(StartRoutine, Argument, MaximumStackSize or StackSize)
    nt.ob.dereference(process.va)
    if thread is None:
        return ntstatus.STATUS_NO_MEMORY
    granted = map_generic(DesiredAccess, nt.ps.thread_type.generic_mapping)
    handle = ob_insert_handle(nt, thread.va, granted)
    nt.ob.dereference(thread.va)
    write_number(nt, ThreadHandle, handle)
    if CreateFlags & CREATE_SUSPENDED:
        thread.v.SuspendCount = 1
    else:
        nt.ps.start_thread(thread)
    return ntstatus.STATUS_SUCCESS


@system_service
def NtResumeThread(nt: Kernel, ThreadHandle: HANDLE, PreviousSuspendCount: PVOID) -> NTSTATUS:
    """Let a thread that was created suspended begin; the suspend count before."""
    kind = nt.ps.thread_type
    status, thread = psp_reference(nt, ThreadHandle, THREAD_SUSPEND_RESUME, kind)
    if thread is None:
        return status
    count = thread.v.SuspendCount
    if count:
        thread.v.SuspendCount = count - 1
        if count == 1 and thread.v.State == INITIALIZED:
            nt.ps.start_thread(thread)
    nt.ob.dereference(thread.va)
    write_number(nt, PreviousSuspendCount, count, 4)
    return ntstatus.STATUS_SUCCESS


def NtTerminateThread(nt: Kernel, ThreadHandle: HANDLE, ExitStatus: NTSTATUS) -> NTSTATUS:
    """End a thread; NULL is the calling one unless it is its process's last."""
    if not ThreadHandle:
        if len(nt.thread.process.threads) == 1:
            return ntstatus.STATUS_CANT_TERMINATE_SELF
        psp_leave(nt, ExitStatus)
    status, thread = psp_reference(nt, ThreadHandle, THREAD_TERMINATE, nt.ps.thread_type)
    if thread is None:
        return status
    nt.ob.dereference(thread.va)
    if thread.user is None:
        return ntstatus.STATUS_INVALID_PARAMETER
    if thread.exit_status is None:
        psp_terminate_thread(nt, thread, ExitStatus)
    return ntstatus.STATUS_SUCCESS


def NtTerminateProcess(nt: Kernel, ProcessHandle: HANDLE, ExitStatus: NTSTATUS) -> NTSTATUS:
    """End a process; NULL ends every thread of the calling one but the caller."""
    if not ProcessHandle:
        process = nt.thread.process
        process.exit_code = ExitStatus if process.exit_code is None else process.exit_code
        psp_terminate_others(nt, process, ExitStatus)
        return ntstatus.STATUS_SUCCESS
    kind = nt.ps.process_type
    status, found = psp_reference(nt, ProcessHandle, PROCESS_TERMINATE, kind)
    if found is None:
        return status
    nt.ob.dereference(found.va)
    if found.um is None:
        return ntstatus.STATUS_ACCESS_DENIED
    if not found.threads:
        return ntstatus.STATUS_PROCESS_IS_TERMINATING
    psp_terminate_process(nt, found, ExitStatus)
    return ntstatus.STATUS_SUCCESS


@system_service
def NtDelayExecution(nt: Kernel, Alertable: BOOLEAN, DelayInterval: PVOID) -> NTSTATUS:
    """Wait until the interval (100 ns units, negative is relative) has passed.

    The most negative one, which Sleep(INFINITE) passes, never does.
    """
    interval = read_timeout(nt, DelayInterval)
    if interval is not None and interval.QuadPart == FOREVER:
        interval = None
    mode = nt.thread.v.PreviousMode
    status = ki_wait(nt, [], WAIT_ANY, DELAY_EXECUTION, mode, bool(Alertable), interval)
    return ntstatus.STATUS_SUCCESS if status == ntstatus.STATUS_TIMEOUT else status


def NtYieldExecution(nt: Kernel) -> NTSTATUS:
    """Give the rest of the quantum to a ready thread of this processor, if there is one."""
    processor = nt.il.current
    prcb = nt.prcb[processor.number]._v
    if not prcb.ReadySummary >> nt.thread.v.Priority:
        return ntstatus.STATUS_NO_YIELD_PERFORMED
    prcb.QuantumEnd = 1
    processor.apic.request(DISPATCH_VECTOR)
    nt.il.take_interrupts()
    return ntstatus.STATUS_SUCCESS


def psp_open_by_id(nt: Kernel, client: bytes, access: int, attributes: int) -> tuple[int, int]:
    """(status, handle) of the process or thread that a CLIENT_ID names."""
    pid, tid = (int.from_bytes(client[i : i + 8], "little") for i in (0, 8))
    processes = [p for p in nt.ps.by_address.values() if not p.e._v.Pcb_Header_SignalState]
    if tid:
        threads = [t for p in processes for t in p.threads]
        found: Any = next((t for t in threads if t.tid == tid), None)
        kind, missing = nt.ps.thread_type, ntstatus.STATUS_INVALID_CID
    else:
        found = next((p for p in processes if p.pid == pid), None)
        kind, missing = nt.ps.process_type, ntstatus.STATUS_INVALID_CID
    if found is None:
        return missing, 0
    granted = map_generic(access, kind.generic_mapping)
    return ntstatus.STATUS_SUCCESS, ob_insert_handle(nt, found.va, granted, attributes)


@system_service
def NtOpenProcess(
    nt: Kernel,
    ProcessHandle: PVOID,
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: PVOID,
    ClientId: PVOID,
) -> NTSTATUS:
    """A handle to a process by id. Source: WDK ZwOpenProcess."""
    client = read_argument(nt, ClientId, 16)
    status, handle = psp_open_by_id(nt, client[:8] + bytes(8), DesiredAccess, 0)
    if handle:
        write_number(nt, ProcessHandle, handle)
    return status


@system_service
def NtOpenThread(
    nt: Kernel,
    ThreadHandle: PVOID,
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: PVOID,
    ClientId: PVOID,
) -> NTSTATUS:
    """A handle to a thread by id."""
    client = read_argument(nt, ClientId, 16)
    if not read_number(nt, ClientId + 8):
        return ntstatus.STATUS_INVALID_PARAMETER
    status, handle = psp_open_by_id(nt, client, DesiredAccess, 0)
    if handle:
        write_number(nt, ThreadHandle, handle)
    return status


@export(irql="== PASSIVE")
def ZwOpenProcess(
    nt: Kernel,
    ProcessHandle: Out[HANDLE],
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: POBJECT_ATTRIBUTES,
    ClientId: PCLIENT_ID,
) -> NTSTATUS:
    """A handle to a process by id. Source: WDK ZwOpenProcess."""
    if not ClientId:
        return ntstatus.STATUS_INVALID_PARAMETER_MIX
    client = nt.mmu.read(int(ClientId), 8) + bytes(8)
    attributes = ObjectAttributes.Attributes if ObjectAttributes else 0
    status, ProcessHandle[0] = psp_open_by_id(nt, client, DesiredAccess, attributes)
    return status


@export(irql="== PASSIVE")
def ZwOpenThread(
    nt: Kernel,
    ThreadHandle: Out[HANDLE],
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: POBJECT_ATTRIBUTES,
    ClientId: PCLIENT_ID,
) -> NTSTATUS:
    """A handle to a thread by id. Source: ZwOpenProcess's page; phnt."""
    if not ClientId:
        return ntstatus.STATUS_INVALID_PARAMETER_MIX
    client = nt.mmu.read(int(ClientId), 16)
    if not int.from_bytes(client[8:], "little"):
        return ntstatus.STATUS_INVALID_CID
    attributes = ObjectAttributes.Attributes if ObjectAttributes else 0
    status, ThreadHandle[0] = psp_open_by_id(nt, client, DesiredAccess, attributes)
    return status


@export(irql="== PASSIVE")
def ZwYieldExecution(nt: Kernel) -> NTSTATUS:
    """STATUS_SUCCESS if another thread has run, else STATUS_NO_YIELD_PERFORMED. Undocumented."""
    return NtYieldExecution(nt)


@export(irql="== PASSIVE")
def ZwTerminateProcess(nt: Kernel, ProcessHandle: HANDLE, ExitStatus: NTSTATUS) -> NTSTATUS:
    """End a process and its threads; NULL is the current process. Source: WDK."""
    v = nt.thread.v
    before, v.PreviousMode = v.PreviousMode, 0
    status = NtTerminateProcess(nt, ProcessHandle or (1 << 64) - 1, ExitStatus)
    v.PreviousMode = before
    return status
