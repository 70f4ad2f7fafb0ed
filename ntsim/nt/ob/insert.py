"""Handles to new objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.wdm_constants import OBJ_KERNEL_HANDLE
from ntsim.nt.ob.callbacks import ob_after, ob_before_create
from ntsim.nt.ob.handles import KERNEL_HANDLE_BITS
from ntsim.nt.ob.procedures import ob_call_open

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


def ob_insert_handle(nt: Kernel, body: int, access: int, attributes: int = 0) -> int:
    """A handle to an object, in the System process's table for OBJ_KERNEL_HANDLE.

    Without that attribute it belongs to the process whose thread happens to run.
    """
    if nt.ob.callbacks:
        return ob_call_around_create(nt, body, access, attributes)
    return ob_insert(nt, body, access, attributes)


def ob_make_handle(
    nt: Kernel, reason: int, body: int, access: int, attributes: int
) -> tuple[int, int]:
    """(status, handle): ob_insert_handle after the type's open procedure has agreed."""
    owner = nt.ps.system if attributes & OBJ_KERNEL_HANDLE else nt.ps.current_process()
    status, granted = ob_call_open(nt, nt.ob.type_of(body), reason, owner, body, access)
    if ntstatus.NT_ERROR(status):
        return status, 0
    return ntstatus.STATUS_SUCCESS, ob_insert_handle(nt, body, granted, attributes)


def ob_insert(nt: Kernel, body: int, access: int, attributes: int) -> int:
    """The entry in the handle table."""
    if attributes & OBJ_KERNEL_HANDLE:
        return nt.ps.system.handles.insert(body, access) | KERNEL_HANDLE_BITS
    return nt.ps.current_process().handles.insert(body, access)


def ob_call_around_create(nt: Kernel, body: int, access: int, attributes: int) -> int:
    """As ob_insert_handle, with the callbacks of ObRegisterCallbacks before and after."""
    kernel = bool(attributes & OBJ_KERNEL_HANDLE)
    operation = ob_before_create(nt, body, access, kernel)
    handle = ob_insert(nt, body, operation.access, attributes)
    ob_after(nt, operation, ntstatus.STATUS_SUCCESS)
    return handle
