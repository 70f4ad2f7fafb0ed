"""Handles to new objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.wdm_constants import OBJ_KERNEL_HANDLE
from ntsim.nt.ob.handles import KERNEL_HANDLE_BITS

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


def ob_insert_handle(nt: Kernel, body: int, access: int, attributes: int = 0) -> int:
    """A handle to an object, in the System process's table for OBJ_KERNEL_HANDLE.

    Without that attribute it belongs to the process whose thread happens to run.
    """
    if attributes & OBJ_KERNEL_HANDLE:
        return nt.ps.system.handles.insert(body, access) | KERNEL_HANDLE_BITS
    return nt.ps.current_process().handles.insert(body, access)
