"""Opening a device, or a file on it, by name: from the path to IRP_MJ_CREATE.

A caller from user mode, or one that forces the check, needs the rights that the device's security
descriptor grants: when it opens the device itself, and with FILE_DEVICE_SECURE_OPEN also when it
opens a name behind it. Otherwise names behind a device are the driver's to protect, and traversing
the device is enough. Source: WDK IoCreateFile, "Controlling Device Namespace Access"; ReactOS
ntoskrnl/io/iomgr/file.c IopParseDevice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.io import DEVICE_OBJECT, FILE_OBJECT, IO_SECURITY_CONTEXT
from ntsim.abi.ob import ACCESS_STATE
from ntsim.abi.se import GENERIC_MAPPING
from ntsim.nt.io.device import iop_dereference_device, iop_is_unavailable
from ntsim.nt.io.file import iop_call_and_wait, iop_internal_irp, iop_new_file
from ntsim.nt.io.irp import io_next_location
from ntsim.nt.ob.handles import map_generic, ob_reference_by_handle
from ntsim.nt.ob.namespace import Found, ob_lookup
from ntsim.nt.se.access_check import sep_access_check
from ntsim.nt.se.access_state import (
    AUX_SIZE,
    append_privileges,
    sep_create_access_state,
    sep_delete_access_state,
)
from ntsim.nt.se.token import TOKEN_HAS_TRAVERSE_PRIVILEGE

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

FILE_TRAVERSE, MAXIMUM_ALLOWED = 0x20, 1 << 25
STATE = IO_SECURITY_CONTEXT.size
AUX = STATE + ACCESS_STATE.size
MAPPING = AUX + 8
"""Offsets in the block with IO_SECURITY_CONTEXT, ACCESS_STATE and AUX_ACCESS_DATA of an open."""


@dataclass(slots=True)
class OpenRequest:
    """What an open asks for; `check` forces the access check on a kernel-mode caller.

    `information` is what the driver says became of it: FILE_OPENED, FILE_CREATED, ...
    """

    access: int
    share: int = 0
    disposition: int = c.FILE_OPEN
    options: int = 0
    file_attributes: int = 0
    allocation: int = 0
    extended: bytes = b""
    check: bool = False
    related: Any = None
    information: int = 0


def iop_open(nt: Kernel, path: str, request: OpenRequest) -> tuple[int, int]:
    """(status, handle) of opening `path` (`\\??\\Name`, `\\Device\\Name`).

    With a related file `path` is relative to it and goes to its device.
    """
    if request.related:
        device = request.related._v.DeviceObject
        found = Found(ntstatus.STATUS_SUCCESS, device, 0, "", path)
    else:
        found = ob_lookup(nt, path)
    if found.status:
        return found.status, 0
    if nt.ob.type_of(found.body) is not nt.io.device_type:
        return ntstatus.STATUS_OBJECT_TYPE_MISMATCH, 0
    block = nt.allocate_pool(AUX + AUX_SIZE, "IoSc")
    if not block:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES, 0
    access = map_generic_keeping_maximum(nt, request.access)
    state = sep_create_access_state(nt, block + STATE, block + AUX, access)
    nt.mmu.write(MAPPING + block, nt.io.generic_mapping)
    status, file = iop_parse_device(nt, found, request, block, state)
    granted = state._v.PreviouslyGrantedAccess
    sep_delete_access_state(nt, state)
    nt.free_pool(block)
    if status >> 30 == 3:
        return status, 0
    handle = nt.ps.current_process().handles.insert(int(file), granted)
    file._v.Flags |= c.FO_HANDLE_CREATED
    nt.ob.dereference(int(file))
    return status, handle


def map_generic_keeping_maximum(nt: Kernel, access: int) -> int:
    """Generic rights as those of files; MAXIMUM_ALLOWED stays for the access check."""
    mapped = map_generic(access & ~MAXIMUM_ALLOWED, nt.io.file_type.generic_mapping)
    return mapped | access & MAXIMUM_ALLOWED


def iop_parse_device(
    nt: Kernel, found: Found, request: OpenRequest, block: int, state: Any
) -> tuple[int, Any]:
    """(status, FILE_OBJECT): checks on the device, the file object, IRP_MJ_CREATE."""
    device = DEVICE_OBJECT.at(nt.mmu, found.body)
    if nt.io.is_being_unloaded(device._v.DriverObject):
        return ntstatus.STATUS_NO_SUCH_DEVICE, None
    if device._v.Flags & c.DO_DEVICE_INITIALIZING or iop_is_unavailable(nt, device):
        return ntstatus.STATUS_NO_SUCH_DEVICE, None
    if device._v.Flags & c.DO_EXCLUSIVE and device._v.ReferenceCount:
        return ntstatus.STATUS_ACCESS_DENIED, None
    status = iop_check_access(nt, device, found.remaining, request, block, state)
    if status:
        return status, None
    device._v.ReferenceCount += 1
    granted = state._v.PreviouslyGrantedAccess
    file = iop_new_file(nt, device, found.remaining, granted, request.share, request.options)
    if not file:
        iop_dereference_device(nt, device)
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES, None
    if request.related:
        file._v.RelatedFileObject = int(request.related)
    status = iop_send_create(nt, file, request, block)
    file._v.RelatedFileObject = 0
    if status >> 30 == 3:
        file._v.DeviceObject = 0
        nt.ob.dereference(int(file))
        iop_dereference_device(nt, device)
    else:
        file._v.Flags |= c.FO_FILE_OPEN
    return status, file


def iop_check_access(
    nt: Kernel, device: Any, remaining: str, request: OpenRequest, block: int, state: Any
) -> int:
    """Grant what the device's descriptor allows; the rights go into the access state."""
    v = state._v
    mode = 1 if request.check or nt.thread.v.PreviousMode else 0
    wanted, context = v.RemainingDesiredAccess, state.SubjectSecurityContext
    mapping = GENERIC_MAPPING.at(nt.mmu, block + MAPPING)
    descriptor = device._v.SecurityDescriptor
    itself = not remaining or device._v.Characteristics & c.FILE_DEVICE_SECURE_OPEN
    if mode and not itself:
        if not v.Flags & TOKEN_HAS_TRAVERSE_PRIVILEGE:
            verdict = sep_access_check(nt, descriptor, context, FILE_TRAVERSE, 0, mapping, 1)
            if verdict.status:
                return verdict.status
        mode = 0
    verdict = sep_access_check(nt, descriptor, context, wanted, 0, mapping, mode)
    if verdict.status:
        return verdict.status
    if verdict.used:
        append_privileges(nt, state, [(luid, 1 << 31) for luid in verdict.used])
    v.PreviouslyGrantedAccess |= verdict.granted
    v.RemainingDesiredAccess &= ~(verdict.granted | MAXIMUM_ALLOWED)
    return ntstatus.STATUS_SUCCESS


def iop_send_create(nt: Kernel, file: Any, request: OpenRequest, block: int) -> int:
    """IRP_MJ_CREATE, synchronously; the answer's Information goes into the request."""
    irp = iop_internal_irp(nt, file, c.IRP_MJ_CREATE, c.IRP_CREATE_OPERATION)
    context = IO_SECURITY_CONTEXT.at(nt.mmu, block)._v
    state = ACCESS_STATE.at(nt.mmu, block + STATE)._v
    context.SecurityQos, context.AccessState = 0, block + STATE
    context.DesiredAccess = state.PreviouslyGrantedAccess
    context.FullCreateOptions = request.options
    irp._v.Overlay_AllocationSize_QuadPart = request.allocation
    if request.extended:
        irp._v.AssociatedIrp_SystemBuffer = buffer = nt.allocate_pool(
            len(request.extended), "IoEa"
        )
        nt.mmu.write(buffer, request.extended)
        irp._v.Flags |= c.IRP_BUFFERED_IO | c.IRP_DEALLOCATE_BUFFER
    stack = io_next_location(nt, irp)._v
    stack.Parameters_Create_SecurityContext = block
    stack.Parameters_Create_Options = request.disposition << 24 | request.options & 0xFFFFFF
    stack.Parameters_Create_FileAttributes = request.file_attributes & 0xFFFF
    stack.Parameters_Create_ShareAccess = request.share
    stack.Parameters_Create_EaLength = len(request.extended)
    status, request.information = iop_call_and_wait(nt, file, irp)
    return status


def iop_related_file(nt: Kernel, handle: int) -> tuple[int, Any]:
    """(status, FILE_OBJECT) of OBJECT_ATTRIBUTES.RootDirectory, referenced."""
    mode = nt.thread.v.PreviousMode
    status, body, _ = ob_reference_by_handle(nt, handle, 0, nt.io.file_type, mode)
    return status, FILE_OBJECT.at(nt.mmu, body)
