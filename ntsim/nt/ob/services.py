"""System services on any object: waits by handle, duplicating handles.

Source: WDK ZwWaitForSingleObject, ZwDuplicateObject; Win32 WaitForMultipleObjects, DuplicateHandle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.ke import KWAIT_BLOCK
from ntsim.abi.scalars import ACCESS_MASK, BOOLEAN, HANDLE, NTSTATUS, PVOID, ULONG, WAIT_TYPE
from ntsim.abi.wdm_constants import OBJ_KERNEL_HANDLE
from ntsim.nt.ex.arguments import (
    in_kernel_mode,
    read_argument,
    read_timeout,
    system_service,
    write_number,
)
from ntsim.nt.exports import OutOpt, export
from ntsim.nt.ke.wait import (
    MAXIMUM_WAIT_OBJECTS,
    THREAD_WAIT_OBJECTS,
    WAIT_ALL,
    WAIT_ANY,
    ki_wait,
)
from ntsim.nt.ob.callbacks import ob_after, ob_before_duplicate
from ntsim.nt.ob.handles import (
    KERNEL_HANDLE_BITS,
    OBJ_INHERIT,
    map_generic,
    ob_close,
    ob_handle_attributes,
    ob_reference_by_handle,
)
from ntsim.nt.ob.procedures import DUPLICATE_HANDLE, ob_call_open
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.abi.rtl import PLARGE_INTEGER
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.ps.process import Process

SYNCHRONIZE = 0x10_0000
PROCESS_DUP_HANDLE = 0x40
DUPLICATE_CLOSE_SOURCE, DUPLICATE_SAME_ACCESS, DUPLICATE_SAME_ATTRIBUTES = 1, 2, 4
USER_REQUEST = 6
"""KWAIT_REASON UserRequest."""


def obp_reference_waitable(nt: Kernel, handle: int) -> tuple[int, int, int]:
    """(status, body, address of its dispatcher header) of a handle with SYNCHRONIZE access."""
    mode = nt.thread.v.PreviousMode
    status, body, _ = ob_reference_by_handle(nt, handle, SYNCHRONIZE, None, mode)
    if status:
        return status, 0, 0
    kind = nt.ob.type_of(body)
    offset = kind.waitable_offset
    if offset is None and kind.v.DefaultObject:
        return ntstatus.STATUS_SUCCESS, body, kind.v.DefaultObject
    if offset is None:
        nt.ob.dereference(body)
        return ntstatus.STATUS_OBJECT_TYPE_MISMATCH, 0, 0
    return status, body, body + offset


@system_service
def NtWaitForSingleObject(
    nt: Kernel, Handle: HANDLE, Alertable: BOOLEAN, Timeout: PVOID
) -> NTSTATUS:
    """Wait for the object behind a handle; Timeout in 100 ns units, negative is relative."""
    timeout = read_timeout(nt, Timeout)
    return obp_wait_for_handle(nt, Handle, bool(Alertable), timeout)


def obp_wait_for_handle(nt: Kernel, handle: int, alertable: bool, timeout: Any) -> int:
    """The wait itself, in the previous mode."""
    status, body, header = obp_reference_waitable(nt, handle)
    if status:
        return status
    mode = nt.thread.v.PreviousMode
    try:
        status = ki_wait(nt, [header], WAIT_ANY, USER_REQUEST, mode, alertable, timeout)
    except StructuredException as error:
        status = error.ExceptionCode
    nt.ob.dereference(body)
    return status


@system_service
def NtWaitForMultipleObjects(
    nt: Kernel,
    Count: ULONG,
    Handles: PVOID,
    WaitType: WAIT_TYPE,
    Alertable: BOOLEAN,
    Timeout: PVOID,
) -> NTSTATUS:
    """Wait for all (WaitType 0) or the first (1) of 1 to 64 objects."""
    if not 1 <= Count <= MAXIMUM_WAIT_OBJECTS:
        return ntstatus.STATUS_INVALID_PARAMETER_1
    if WaitType not in (WAIT_ALL, WAIT_ANY):
        return ntstatus.STATUS_INVALID_PARAMETER_3
    timeout = read_timeout(nt, Timeout)
    data = read_argument(nt, Handles, 8 * Count)
    handles = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]
    bodies: list[int] = []
    headers: list[int] = []
    status = ntstatus.STATUS_SUCCESS
    for handle in handles:
        status, body, header = obp_reference_waitable(nt, handle)
        if status:
            break
        bodies.append(body)
        headers.append(header)
    if not status and WaitType == WAIT_ALL and len(set(headers)) != len(headers):
        status = ntstatus.STATUS_INVALID_PARAMETER_MIX
    if not status:
        status = obp_wait_for_headers(nt, headers, WaitType, bool(Alertable), timeout)
    for body in bodies:
        nt.ob.dereference(body)
    return status


def obp_wait_for_headers(
    nt: Kernel, headers: list[int], wait_type: int, alertable: bool, timeout: Any
) -> int:
    """Wait, with wait blocks from pool where the thread's own three do not do."""
    many = len(headers) > THREAD_WAIT_OBJECTS
    blocks = nt.allocate_pool(len(headers) * KWAIT_BLOCK.size, "Wait") if many else 0
    if many and not blocks:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    mode = nt.thread.v.PreviousMode
    try:
        status = ki_wait(nt, headers, wait_type, USER_REQUEST, mode, alertable, timeout, blocks)
    except StructuredException as error:
        status = error.ExceptionCode
    if blocks:
        nt.free_pool(blocks)
    return status


@export(irql="<= APC, or <= DISPATCH if Timeout points to zero")
def ZwWaitForSingleObject(
    nt: Kernel, Handle: HANDLE, Alertable: BOOLEAN, Timeout: PLARGE_INTEGER
) -> NTSTATUS:
    """Wait for the object behind a handle. Source: WDK ZwWaitForSingleObject."""
    return in_kernel_mode(
        nt, obp_wait_for_handle, Handle, bool(Alertable), Timeout if Timeout else None
    )


@export(irql="== PASSIVE")
def ZwWaitForMultipleObjects(
    nt: Kernel,
    Count: ULONG,
    Handles: PVOID,
    WaitType: WAIT_TYPE,
    Alertable: BOOLEAN,
    Timeout: PLARGE_INTEGER,
) -> NTSTATUS:
    """Wait for all or one of up to 64 handles; handles that cannot be read are an access violation.

    Source: ntifs.h; kmtests ObWait.c.
    """
    return in_kernel_mode(
        nt, NtWaitForMultipleObjects, Count, Handles, WaitType, Alertable, int(Timeout)
    )


def obp_process(nt: Kernel, handle: int) -> tuple[int, Process | None]:
    """(status, process) of a handle with PROCESS_DUP_HANDLE; referenced on success."""
    kind, mode = nt.ps.process_type, nt.thread.v.PreviousMode
    status, body, _ = ob_reference_by_handle(nt, handle, PROCESS_DUP_HANDLE, kind, mode)
    return (status, None) if status else (status, nt.ps.by_address[body])


def obp_reference_in(nt: Kernel, process: Process, handle: int) -> tuple[int, int, int]:
    """(status, body, access) of a handle as `process` sees it; referenced on success."""
    if process is nt.ps.current_process():
        return ob_reference_by_handle(nt, handle, 0, None, nt.thread.v.PreviousMode)
    found = process.handles.lookup(handle)
    if found is None:
        return ntstatus.STATUS_INVALID_HANDLE, 0, 0
    nt.ob.reference(found[0])
    return ntstatus.STATUS_SUCCESS, *found


def obp_duplicate(
    nt: Kernel,
    source: Process,
    handle: int,
    target: Process | None,
    access: int,
    attributes: int,
    options: int,
) -> tuple[int, int]:
    """(status, new handle) in `target`; with no target the source handle is only closed."""
    status, body, granted = obp_reference_in(nt, source, handle)
    if status:
        return status, 0
    made = 0
    if target is not None:
        mapping = nt.ob.type_of(body).generic_mapping
        rights = granted if options & DUPLICATE_SAME_ACCESS else map_generic(access, mapping)
        operation = None
        if nt.ob.callbacks:
            operation = ob_before_duplicate(nt, body, rights, source.va, target.va)
            rights = operation.access
        if options & DUPLICATE_SAME_ATTRIBUTES:
            current = source is nt.ps.current_process()
            attributes = (
                ob_handle_attributes(nt, handle) if current else source.handles.attributes(handle)
            )
        kind = nt.ob.type_of(body)
        status, rights = ob_call_open(nt, kind, DUPLICATE_HANDLE, target, body, rights)
        if not ntstatus.NT_ERROR(status):
            made = target.handles.insert(body, rights, attributes & OBJ_INHERIT)
            status = ntstatus.STATUS_SUCCESS
        if operation is not None:
            ob_after(nt, operation, status)
    if options & DUPLICATE_CLOSE_SOURCE:
        if source is nt.ps.current_process():
            ob_close(nt, handle)
        else:
            source.handles.close(handle)
    nt.ob.dereference(body)
    return status, made


def NtDuplicateObject(
    nt: Kernel,
    SourceProcessHandle: HANDLE,
    SourceHandle: HANDLE,
    TargetProcessHandle: HANDLE,
    TargetHandle: PVOID,
    DesiredAccess: ACCESS_MASK,
    HandleAttributes: ULONG,
    Options: ULONG,
) -> NTSTATUS:
    """A second handle to an object, perhaps in another process. Source: WDK ZwDuplicateObject."""
    status, made = obp_duplicate_between(
        nt,
        SourceProcessHandle,
        SourceHandle,
        TargetProcessHandle,
        DesiredAccess,
        HandleAttributes,
        Options,
    )
    try:
        if made:
            write_number(nt, TargetHandle, made)
    except StructuredException as error:
        return error.ExceptionCode
    return status


def obp_duplicate_between(
    nt: Kernel,
    source_handle: int,
    handle: int,
    target_handle: int,
    access: int,
    attributes: int,
    options: int,
) -> tuple[int, int]:
    """(status, new handle), both processes given by handle.

    The kernel with OBJ_KERNEL_HANDLE for the System process gets a kernel handle. Source: ReactOS
    kmtests ObHandle.c.
    """
    status, source = obp_process(nt, source_handle)
    if source is None:
        return status, 0
    target = None
    if target_handle:
        status, target = obp_process(nt, target_handle)
    made = 0
    if not status:
        status, made = obp_duplicate(nt, source, handle, target, access, attributes, options)
        kernel = attributes & OBJ_KERNEL_HANDLE and not nt.thread.v.PreviousMode
        if made and kernel and target is nt.ps.system:
            made |= KERNEL_HANDLE_BITS
    for process in (source, target):
        if process is not None:
            nt.ob.dereference(process.va)
    return status, made


@export(irql="== PASSIVE")
def ZwDuplicateObject(
    nt: Kernel,
    SourceProcessHandle: HANDLE,
    SourceHandle: HANDLE,
    TargetProcessHandle: HANDLE,
    TargetHandle: OutOpt[HANDLE],
    DesiredAccess: ACCESS_MASK,
    HandleAttributes: ULONG,
    Options: ULONG,
) -> NTSTATUS:
    """A second handle to an object. Source: WDK ZwDuplicateObject."""
    status, made = in_kernel_mode(
        nt, obp_duplicate_between, SourceProcessHandle, SourceHandle, TargetProcessHandle,
        DesiredAccess, HandleAttributes, Options,
    )  # fmt: skip
    if TargetHandle:
        TargetHandle[0] = made
    return status
