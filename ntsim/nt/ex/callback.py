"""Callback objects: named lists of routines that somebody's notification calls.

A callback object lies in the directory \\Callback or has no name; the system's own (SetSystemTime,
PowerState, ProcessorAdd) exist from the start. Source: WDK "Callback Objects", ExCreateCallback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.ex import CALLBACK_OBJECT, CALLBACK_REGISTRATION
from ntsim.abi.ke import KEVENT
from ntsim.abi.scalars import BOOLEAN, NTSTATUS, PVOID
from ntsim.abi.wdm_constants import OBJ_PERMANENT
from ntsim.nt.ex.arguments import in_kernel_mode, read_attributes
from ntsim.nt.ex.named import exp_find
from ntsim.nt.exports import Out, export
from ntsim.nt.ke.objects import KeInitializeEvent, KeSetEvent
from ntsim.nt.ke.wait import NOTIFICATION_EVENT, WAIT_ANY, ki_wait
from ntsim.nt.ob.namespace import ob_lookup
from ntsim.nt.ob.objects import ObjectType
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.abi.ex import PCALLBACK_OBJECT
    from ntsim.abi.rtl import POBJECT_ATTRIBUTES
    from ntsim.nt.kernel import Kernel

SIGNATURE = int.from_bytes(b"Call", "little")
CALLBACK_GENERIC = (0x2_0000, 0x2_0001, 0x12_0000, 0x1F_0001)
SYSTEM_CALLBACKS = ("SetSystemTime", "PowerState", "ProcessorAdd")
_REGISTERED = CALLBACK_OBJECT.offset_of("RegisteredCallbacks")
_EVENT = CALLBACK_REGISTRATION.size
"""Behind a registration: the event for which ExUnregisterCallback waits."""


def exp_create_callback_type(nt: Kernel) -> None:
    """Register the object type Callback, and make the system's callback objects."""
    kind = nt.ob.add_type(ObjectType("Callback", CALLBACK_GENERIC, 0x1F_0001))
    for name in SYSTEM_CALLBACKS:
        place = ob_lookup(nt, f"\\Callback\\{name}")
        exp_new_callback(nt, kind, place.directory, place.name, True)


def exp_new_callback(
    nt: Kernel, kind: ObjectType, directory: int, name: str, multiple: bool
) -> int:
    """A callback object without routines, 0 if memory is short."""
    body = nt.ob.create(kind, CALLBACK_OBJECT.size, None, "Call")
    if body:
        v = CALLBACK_OBJECT.at(nt.mmu, body)._v
        v.Signature, v.AllowMultipleCallbacks = SIGNATURE, int(multiple)
        lists.initialize(nt.mmu, body + _REGISTERED)
        if directory and name:
            nt.ob.attach_name(body, directory, name)
    return body


@export(irql="<= APC")
def ExCreateCallback(
    nt: Kernel,
    CallbackObject: Out[PCALLBACK_OBJECT],
    ObjectAttributes: POBJECT_ATTRIBUTES,
    Create: BOOLEAN,
    AllowMultipleCallbacks: BOOLEAN,
) -> NTSTATUS:
    """Open a callback object, or with Create make it if there is none; referenced.

    The attributes are the driver's, whatever mode its thread came from. Source: WDK; ReactOS
    kmtests ExCallback.c.
    """
    kind = nt.ob.types["Callback"]
    attributes = in_kernel_mode(nt, read_attributes, int(ObjectAttributes))
    found = exp_find(nt, attributes) if attributes.name else None
    if found is not None and found.status == ntstatus.STATUS_SUCCESS:
        if nt.ob.type_of(found.body) is not kind:
            return ntstatus.STATUS_OBJECT_TYPE_MISMATCH
        nt.ob.reference(found.body)
        CallbackObject[0] = CALLBACK_OBJECT.at(nt.mmu, found.body)
        return ntstatus.STATUS_SUCCESS
    if not Create:
        return found.status if found is not None else ntstatus.STATUS_UNSUCCESSFUL
    if found is not None and not found.directory:
        return found.status
    directory, name = (found.directory, found.name) if found is not None else (0, "")
    body = exp_new_callback(nt, kind, directory, name, bool(AllowMultipleCallbacks))
    if not body:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    if attributes.flags & OBJ_PERMANENT:
        nt.ob.reference(body)
    CallbackObject[0] = CALLBACK_OBJECT.at(nt.mmu, body)
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def ExRegisterCallback(
    nt: Kernel, CallbackObject: PCALLBACK_OBJECT, CallbackFunction: PVOID, CallbackContext: PVOID
) -> PVOID:
    """Add a routine; its registration, NULL if the object takes only one and has one.

    Source: WDK ExRegisterCallback.
    """
    head = int(CallbackObject) + _REGISTERED
    if not CallbackObject._v.AllowMultipleCallbacks and not lists.is_empty(nt.mmu, head):
        return 0
    block = nt.allocate_pool(CALLBACK_REGISTRATION.size + KEVENT.size, "CBRe")
    if not block:
        return 0
    v = CALLBACK_REGISTRATION.at(nt.mmu, block)._v
    v.CallbackObject, v.Busy, v.UnregisterWaiting = int(CallbackObject), 0, 0
    v.CallbackFunction, v.CallbackContext = CallbackFunction, CallbackContext
    KeInitializeEvent(nt, KEVENT.at(nt.mmu, block + _EVENT), NOTIFICATION_EVENT, False)
    nt.ob.reference(int(CallbackObject))
    lists.insert_tail(nt.mmu, head, block)
    return block


@export(irql="<= DISPATCH")
def ExNotifyCallback(nt: Kernel, CallbackObject: PVOID, Argument1: PVOID, Argument2: PVOID) -> None:
    """Call every registered routine, in order, at the caller's IRQL. Source: WDK."""
    head = int(CallbackObject) + _REGISTERED
    at, passed = nt.read_pointer(head), 0
    while at != head:
        passed += 1
        if passed > lists.LONGEST:
            nt.loop_for_ever()
        registration = CALLBACK_REGISTRATION.at(nt.mmu, at)
        v = registration._v
        if v.UnregisterWaiting:
            at = nt.read_pointer(at)
            continue
        v.Busy += 1
        nt.call(v.CallbackFunction, v.CallbackContext, Argument1, Argument2)
        at = nt.read_pointer(at)
        exp_leave(nt, registration)


def exp_leave(nt: Kernel, registration: Any) -> None:
    """A routine has come back: whoever unregisters it may go on."""
    v = registration._v
    v.Busy -= 1
    if not v.Busy and v.UnregisterWaiting:
        KeSetEvent(nt, KEVENT.at(nt.mmu, int(registration) + _EVENT), 0, False)


@export(irql="<= APC")
def ExUnregisterCallback(nt: Kernel, CallbackRegistration: PVOID) -> None:
    """Take a routine out when it runs nowhere; from the routine itself that hangs. Source: WDK."""
    registration = CALLBACK_REGISTRATION.at(nt.mmu, CallbackRegistration)
    v = registration._v
    v.UnregisterWaiting = 1
    if v.Busy:
        ki_wait(nt, [int(registration) + _EVENT], WAIT_ANY, 0, 0, False, None)
    lists.remove(nt.mmu, int(registration))
    owner = v.CallbackObject
    nt.free_pool(int(registration))
    nt.ob.dereference(owner)
