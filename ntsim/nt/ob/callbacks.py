"""Object callbacks: drivers hear of handles to processes and threads, and may take rights away.

Pre-operation callbacks run from the highest altitude down before the handle is made, post-operation
callbacks the other way round after. What a callback takes from DesiredAccess the handle does not
get; what it adds is ignored. The check that the callbacks' image is signed for it
(STATUS_ACCESS_DENIED) is not modelled. Source: WDK ObRegisterCallbacks,
OB_PRE_OPERATION_INFORMATION, OB_PRE_CREATE_HANDLE_INFORMATION.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.ob import (
    OB_POST_OPERATION_INFORMATION,
    OB_POST_OPERATION_PARAMETERS,
    OB_PRE_OPERATION_INFORMATION,
    OB_PRE_OPERATION_PARAMETERS,
)
from ntsim.abi.scalars import NTSTATUS, PVOID, USHORT
from ntsim.nt.exports import Out, export
from ntsim.nt.mm.integrity import mm_verify_callback_function
from ntsim.nt.rtl.text import read_unicode

if TYPE_CHECKING:
    from ntsim.abi.ob import POB_CALLBACK_REGISTRATION
    from ntsim.nt.kernel import Kernel

CREATE, DUPLICATE = c.OB_OPERATION_HANDLE_CREATE, c.OB_OPERATION_HANDLE_DUPLICATE
KERNEL_HANDLE = 1
"""Bit of Flags in both information structures."""

SUPPORTED = ("Process", "Thread")


@dataclass(frozen=True, slots=True)
class Callback:
    """One entry of OperationRegistration."""

    type_va: int
    operations: int
    pre: int
    post: int


@dataclass(eq=False, slots=True)
class Registration:
    """What one ObRegisterCallbacks registered; `va` is the RegistrationHandle."""

    va: int
    altitude: str
    context: int
    callbacks: list[Callback]


@dataclass(slots=True)
class Operation:
    """A handle on its way; `contexts` are the CallContexts by callback."""

    kind: int
    flags: int
    body: int
    type_va: int
    access: int
    contexts: list[tuple[Registration, Callback, int]] = field(default_factory=list)


def altitude_value(text: str) -> tuple[int, str]:
    """Altitudes compare as decimal numbers of any length."""
    whole, _, fraction = text.partition(".")
    return int(whole or 0), fraction.rstrip("0")


def ob_before_create(nt: Kernel, body: int, access: int, kernel: bool) -> Operation:
    """Pre-operation callbacks of a new handle."""
    return _before(nt, CREATE, body, access, kernel, 0, 0)


def ob_before_duplicate(
    nt: Kernel, body: int, access: int, source: int, target: int
) -> Operation:
    """Pre-operation callbacks of a duplicate; `source` and `target` are EPROCESS addresses."""
    return _before(nt, DUPLICATE, body, access, False, source, target)


def _before(
    nt: Kernel, kind: int, body: int, access: int, kernel: bool, source: int, target: int
) -> Operation:
    operation = Operation(kind, kernel * KERNEL_HANDLE, body, nt.ob.type_of(body).va, access)
    wanted = [
        (registration, callback)
        for registration in list(nt.ob.callbacks)
        for callback in registration.callbacks
        if callback.type_va == operation.type_va and callback.operations & kind
    ]
    if not wanted:
        return operation
    parameters_at = OB_PRE_OPERATION_INFORMATION.size
    block = nt.allocate_pool(parameters_at + OB_PRE_OPERATION_PARAMETERS.size, "ObCb")
    information = OB_PRE_OPERATION_INFORMATION.at(nt.mmu, block)
    parameters = OB_PRE_OPERATION_PARAMETERS.at(nt.mmu, block + parameters_at)
    p = parameters.DuplicateHandleInformation._v
    p.OriginalDesiredAccess, p.SourceProcess, p.TargetProcess = access, source, target
    for registration, callback in wanted:
        v = information._v
        v.Operation, v.Flags, v.Object = kind, operation.flags, body
        v.ObjectType, v.CallContext, v.Parameters = operation.type_va, 0, int(parameters)
        p.DesiredAccess = operation.access
        if callback.pre:
            nt.call(callback.pre, registration.context, information)
            operation.access &= p.DesiredAccess
        operation.contexts.append((registration, callback, v.CallContext))
    nt.free_pool(block)
    return operation


def ob_after(nt: Kernel, operation: Operation, status: int) -> None:
    """Post-operation callbacks, the lowest altitude first."""
    size = OB_POST_OPERATION_INFORMATION.size
    for registration, callback, context in reversed(operation.contexts):
        if not callback.post:
            continue
        block = nt.allocate_pool(size + OB_POST_OPERATION_PARAMETERS.size, "ObCb")
        information = OB_POST_OPERATION_INFORMATION.at(nt.mmu, block)
        v = information._v
        v.Operation, v.Flags, v.Object = operation.kind, operation.flags, operation.body
        v.ObjectType, v.CallContext, v.ReturnStatus = operation.type_va, context, status
        v.Parameters = block + size
        nt.mmu.write(block + size, operation.access.to_bytes(4, "little"))
        nt.call(callback.post, registration.context, information)
        nt.free_pool(block)


def _read_callbacks(nt: Kernel, registration: Any) -> list[Callback] | None:
    """The entries of OperationRegistration; None if one of them cannot be."""
    supported = {nt.ob.types[name].va for name in SUPPORTED}
    made = []
    for index in range(registration.OperationRegistrationCount):
        v = registration.OperationRegistration[index]._v
        kind = nt.read_pointer(v.ObjectType)
        known = v.Operations and not v.Operations & ~(CREATE | DUPLICATE)
        if kind not in supported or not known or not (v.PreOperation or v.PostOperation):
            return None
        made.append(Callback(kind, v.Operations, v.PreOperation, v.PostOperation))
    return made


@export(irql="<= APC")
def ObRegisterCallbacks(
    nt: Kernel, CallbackRegistration: POB_CALLBACK_REGISTRATION, RegistrationHandle: Out[PVOID]
) -> NTSTATUS:
    """Register for handles to processes and threads.

    STATUS_INVALID_PARAMETER for a version, count, type or operation that cannot be,
    STATUS_FLT_INSTANCE_ALTITUDE_COLLISION for an altitude that is taken, STATUS_ACCESS_DENIED for a
    driver that was not linked with /INTEGRITYCHECK. Source: WDK.
    """
    v = CallbackRegistration._v
    if v.Version != c.OB_FLT_REGISTRATION_VERSION or not v.OperationRegistrationCount:
        return ntstatus.STATUS_INVALID_PARAMETER
    altitude = read_unicode(nt.mmu, CallbackRegistration.Altitude)
    if not altitude.replace(".", "", 1).isdecimal():
        return ntstatus.STATUS_INVALID_PARAMETER
    callbacks = _read_callbacks(nt, CallbackRegistration)
    if callbacks is None:
        return ntstatus.STATUS_INVALID_PARAMETER
    for routine in (r for each in callbacks for r in (each.pre, each.post) if r):
        if not mm_verify_callback_function(nt, routine, "ObRegisterCallbacks"):
            return ntstatus.STATUS_ACCESS_DENIED
    key = altitude_value(altitude)
    if any(altitude_value(each.altitude) == key for each in nt.ob.callbacks):
        return ntstatus.STATUS_FLT_INSTANCE_ALTITUDE_COLLISION
    block = nt.allocate_pool(0x20 + 0x40 * len(callbacks), "ObCb")
    if not block:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    nt.ob.callbacks.append(Registration(block, altitude, v.RegistrationContext, callbacks))
    nt.ob.callbacks.sort(key=lambda each: altitude_value(each.altitude), reverse=True)
    RegistrationHandle[0] = block
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def ObUnRegisterCallbacks(nt: Kernel, RegistrationHandle: PVOID) -> None:
    """Undo ObRegisterCallbacks. Source: WDK ObUnRegisterCallbacks."""
    found = next((r for r in nt.ob.callbacks if r.va == RegistrationHandle), None)
    if found is None:
        nt.mmu.read(RegistrationHandle, 8)
        return
    nt.ob.callbacks.remove(found)
    nt.free_pool(found.va)


@export(irql="any")
def ObGetFilterVersion(nt: Kernel) -> USHORT:
    """OB_FLT_REGISTRATION_VERSION of this system. Source: WDK ObGetFilterVersion."""
    return c.OB_FLT_REGISTRATION_VERSION
