"""Event objects: what user mode and drivers name by handle is a KEVENT.

Source: WDK ZwCreateEvent, ZwSetEvent, IoCreateNotificationEvent; ntifs.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.ke import KEVENT
from ntsim.abi.scalars import ACCESS_MASK, BOOLEAN, EVENT_TYPE, HANDLE, LONG, NTSTATUS, PVOID
from ntsim.abi.wdm_constants import OBJ_KERNEL_HANDLE
from ntsim.nt.ex.arguments import (
    OBJ_OPENIF,
    Attributes,
    in_kernel_mode,
    read_attributes,
    system_service,
    write_number,
)
from ntsim.nt.ex.named import exp_create, exp_drop_name, exp_open, exp_reference
from ntsim.nt.exports import Out, OutOpt, export
from ntsim.nt.ke.objects import (
    KeClearEvent,
    KeInitializeEvent,
    KePulseEvent,
    KeResetEvent,
    KeSetEvent,
)
from ntsim.nt.ob.objects import ObjectType
from ntsim.nt.rtl.text import read_unicode

if TYPE_CHECKING:
    from ntsim.abi.ke import PKEVENT
    from ntsim.abi.rtl import POBJECT_ATTRIBUTES, PUNICODE_STRING
    from ntsim.nt.kernel import Kernel

EVENT_QUERY_STATE, EVENT_MODIFY_STATE, EVENT_ALL_ACCESS = 1, 2, 0x1F_0003
EVENT_GENERIC = (0x2_0001, 0x2_0002, 0x12_0000, EVENT_ALL_ACCESS)
EVENT_INCREMENT = 1
NOTIFICATION, SYNCHRONIZATION = 0, 1


def exp_create_event_type(nt: Kernel) -> None:
    """Register the object type Event."""
    nt.ob.add_type(
        ObjectType("Event", EVENT_GENERIC, EVENT_ALL_ACCESS, close=exp_drop_name, waitable_offset=0)
    )


def exp_create_event(
    nt: Kernel, access: int, attributes: Attributes, kind: int, state: bool
) -> tuple[int, int]:
    """(status, handle) of a new event of type `kind`."""
    if kind not in (NOTIFICATION, SYNCHRONIZATION):
        return ntstatus.STATUS_INVALID_PARAMETER, 0

    def initialize(body: int) -> None:
        KeInitializeEvent(nt, KEVENT.at(nt.mmu, body), kind, state)

    return exp_create(nt, nt.ob.types["Event"], KEVENT.size, attributes, access, initialize)


@system_service
def NtCreateEvent(
    nt: Kernel,
    EventHandle: PVOID,
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: PVOID,
    EventType: EVENT_TYPE,
    InitialState: BOOLEAN,
) -> NTSTATUS:
    """An event for user mode. Source: WDK ZwCreateEvent."""
    attributes = read_attributes(nt, ObjectAttributes)
    status, handle = exp_create_event(nt, DesiredAccess, attributes, EventType, bool(InitialState))
    if handle:
        write_number(nt, EventHandle, handle)
    return status


@system_service
def NtOpenEvent(
    nt: Kernel, EventHandle: PVOID, DesiredAccess: ACCESS_MASK, ObjectAttributes: PVOID
) -> NTSTATUS:
    """A handle to a named event. Source: WDK ZwOpenEvent."""
    attributes = read_attributes(nt, ObjectAttributes)
    status, handle = exp_open(nt, nt.ob.types["Event"], attributes, DesiredAccess)
    if handle:
        write_number(nt, EventHandle, handle)
    return status


def exp_change_event(nt: Kernel, handle: int, previous: int, change: Any) -> int:
    """Do `change(nt, event)` to a handle's event; the old state goes to `previous` if not NULL."""
    status, body = exp_reference(nt, handle, EVENT_MODIFY_STATE, "Event")
    if status:
        return status
    old = change(nt, KEVENT.at(nt.mmu, body))
    nt.ob.dereference(body)
    write_number(nt, previous, old or 0, 4)
    return status


def set_event(nt: Kernel, event: Any) -> int:
    return KeSetEvent(nt, event, EVENT_INCREMENT, False)


def pulse_event(nt: Kernel, event: Any) -> int:
    return KePulseEvent(nt, event, EVENT_INCREMENT, False)


@system_service
def NtSetEvent(nt: Kernel, EventHandle: HANDLE, PreviousState: PVOID) -> NTSTATUS:
    """Signal an event. Source: WDK ZwSetEvent."""
    return exp_change_event(nt, EventHandle, PreviousState, set_event)


@system_service
def NtResetEvent(nt: Kernel, EventHandle: HANDLE, PreviousState: PVOID) -> NTSTATUS:
    """Not signalled; the old state. Source: ntifs.h."""
    return exp_change_event(nt, EventHandle, PreviousState, KeResetEvent)


@system_service
def NtPulseEvent(nt: Kernel, EventHandle: HANDLE, PreviousState: PVOID) -> NTSTATUS:
    """Wake who waits now, then not signalled. Source: Win32 PulseEvent."""
    return exp_change_event(nt, EventHandle, PreviousState, pulse_event)


@system_service
def NtClearEvent(nt: Kernel, EventHandle: HANDLE) -> NTSTATUS:
    """Not signalled. Source: WDK ZwClearEvent."""
    return exp_change_event(nt, EventHandle, 0, KeClearEvent)


@export(irql="== PASSIVE")
def ZwCreateEvent(
    nt: Kernel,
    EventHandle: Out[HANDLE],
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: POBJECT_ATTRIBUTES,
    EventType: EVENT_TYPE,
    InitialState: BOOLEAN,
) -> NTSTATUS:
    """An event, named or not. Source: WDK ZwCreateEvent."""
    attributes = driver_attributes(nt, ObjectAttributes)
    status, EventHandle[0] = exp_create_event(
        nt, DesiredAccess, attributes, EventType, bool(InitialState)
    )
    return status


@export(irql="== PASSIVE")
def ZwOpenEvent(
    nt: Kernel,
    EventHandle: Out[HANDLE],
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: POBJECT_ATTRIBUTES,
) -> NTSTATUS:
    """A handle to a named event. Source: WDK ZwOpenEvent."""
    attributes = driver_attributes(nt, ObjectAttributes)
    status, EventHandle[0] = exp_open(nt, nt.ob.types["Event"], attributes, DesiredAccess)
    return status


def driver_attributes(nt: Kernel, attributes: Any) -> Attributes:
    """A driver's OBJECT_ATTRIBUTES, kernel handles allowed."""
    if not attributes:
        return Attributes()
    v, name = attributes._v, attributes.ObjectName
    return Attributes(v.RootDirectory, read_unicode(nt.mmu, name) if name else "", v.Attributes)


def change_for_driver(nt: Kernel, handle: int, previous: Any, change: Any) -> int:
    """As `exp_change_event` for a Zw routine, whose out argument is typed."""
    status, body = exp_reference_for_driver(nt, handle)
    if status:
        return status
    old = change(nt, KEVENT.at(nt.mmu, body))
    nt.ob.dereference(body)
    if previous:
        previous[0] = old
    return status


def exp_reference_for_driver(nt: Kernel, handle: int) -> tuple[int, int]:
    """An event by handle without access check: previous mode is kernel in a Zw routine."""
    return in_kernel_mode(nt, exp_reference, handle, EVENT_MODIFY_STATE, "Event")


@export(irql="== PASSIVE")
def ZwSetEvent(nt: Kernel, EventHandle: HANDLE, PreviousState: OutOpt[LONG]) -> NTSTATUS:
    """Signal an event. Source: WDK ZwSetEvent."""
    return change_for_driver(nt, EventHandle, PreviousState, set_event)


@export(irql="== PASSIVE")
def ZwResetEvent(nt: Kernel, EventHandle: HANDLE, PreviousState: OutOpt[LONG]) -> NTSTATUS:
    """Not signalled; the old state. Source: ntifs.h."""
    return change_for_driver(nt, EventHandle, PreviousState, KeResetEvent)


@export(irql="== PASSIVE")
def ZwClearEvent(nt: Kernel, EventHandle: HANDLE) -> NTSTATUS:
    """Not signalled. Source: ntifs.h."""
    return change_for_driver(nt, EventHandle, None, KeClearEvent)


@export(irql="== PASSIVE")
def ZwPulseEvent(nt: Kernel, EventHandle: HANDLE, PreviousState: OutOpt[LONG]) -> NTSTATUS:
    """Wake who waits now, then not signalled. Source: ntifs.h."""
    return change_for_driver(nt, EventHandle, PreviousState, pulse_event)


def exp_shared_event(nt: Kernel, name: Any, handle: Out[HANDLE], kind: int) -> Any:
    """Open or create an event that starts signalled, unnamed without a name; NULL if neither works.

    Source for the name: Wine dlls/ntoskrnl.exe/tests/driver.c test_sync.
    """
    flags = OBJ_OPENIF | OBJ_KERNEL_HANDLE
    attributes = Attributes(0, read_unicode(nt.mmu, name) if name else "", flags)
    status, made = exp_create_event(nt, EVENT_ALL_ACCESS, attributes, kind, True)
    handle[0] = made
    if not ntstatus.NT_SUCCESS(status):
        return KEVENT.at(nt.mmu, 0)
    _, body = exp_reference_for_driver(nt, made)
    nt.ob.dereference(body)
    return KEVENT.at(nt.mmu, body)


@export(irql="== PASSIVE")
def IoCreateNotificationEvent(
    nt: Kernel, EventName: PUNICODE_STRING, EventHandle: Out[HANDLE]
) -> PKEVENT:
    """A named notification event, signalled when new. Source: WDK IoCreateNotificationEvent."""
    return exp_shared_event(nt, EventName, EventHandle, NOTIFICATION)  # type: ignore[no-any-return]


@export(irql="== PASSIVE")
def IoCreateSynchronizationEvent(
    nt: Kernel, EventName: PUNICODE_STRING, EventHandle: Out[HANDLE]
) -> PKEVENT:
    """A named synchronization event, signalled when new. Source: WDK."""
    return exp_shared_event(nt, EventName, EventHandle, SYNCHRONIZATION)  # type: ignore[no-any-return]
