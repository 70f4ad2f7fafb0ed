"""PnP notification: a driver hears of device interfaces and of a device that it has open.

Callbacks run at PASSIVE_LEVEL in a system thread; one that comes back at another level or with
another APC-disable count is 0xCA/0xA. Interface changes are delivered after the fact by a worker;
a query-remove is asked on the spot, and any failure status is a veto. Source: WDK
IoRegisterPlugPlayNotification, "Using PnP Notification"; bug check 0xCA reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ntsim.abi import bugcodes, ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.io import FILE_OBJECT
from ntsim.abi.pnp import (
    DEVICE_INTERFACE_CHANGE_NOTIFICATION,
    TARGET_DEVICE_CUSTOM_NOTIFICATION,
    TARGET_DEVICE_REMOVAL_NOTIFICATION,
)
from ntsim.abi.rtl import UNICODE_STRING
from ntsim.abi.scalars import LONG, NTSTATUS, PVOID, ULONG
from ntsim.nt.ex.allocate import ExFreePool
from ntsim.nt.exports import Out, export
from ntsim.nt.io.driver import make_unicode
from ntsim.nt.ob.objects import set_unicode
from ntsim.nt.pnp import guids
from ntsim.nt.pnp.irp import iop_synchronous_call
from ntsim.nt.pnp.state import pnp, pnp_require_pdo

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT, PDRIVER_OBJECT
    from ntsim.nt.kernel import Kernel

CALLBACK_BEHAVIOUR = 0xA
"""Parameter 1 of 0xCA: a callback changed the IRQL or the APC-disable count."""

TARGET_EVENTS = {
    "query": guids.QUERY_REMOVE,
    "cancel": guids.REMOVE_CANCELLED,
    "complete": guids.REMOVE_COMPLETE,
}


@dataclass(eq=False, slots=True)
class Notification:
    """A registration: `entry` is what the driver holds, `subject` a GUID's text or a PDO."""

    entry: int
    category: int
    subject: str | int
    callback: int
    context: int
    driver: int
    file: int = 0


def pnp_call_back(nt: Kernel, registration: Notification, structure: int) -> int:
    """Call a callback and look at what it did to its thread."""
    v = nt.thread.v
    before = v.CombinedApcDisable
    status = nt.call(registration.callback, structure, registration.context) & 0xFFFF_FFFF
    irql, count = nt.il.current.cr8, nt.thread.v.CombinedApcDisable
    if irql or count != before:
        code = bugcodes.PNP_DETECTED_FATAL_ERROR
        nt.bugcheck(code, CALLBACK_BEHAVIOUR, registration.driver, irql, count)
    return status


def _of(nt: Kernel, category: int, subject: str | int) -> list[Notification]:
    found = nt.pnp.notifications
    return [each for each in found if (each.category, each.subject) == (category, subject)]


# Interfaces


def pnp_notify_interface(nt: Kernel, guid: str, link: str, arrived: bool) -> None:
    """An interface of class `guid` was enabled or disabled: tell, from a worker thread."""
    if _of(nt, c.EventCategoryDeviceInterfaceChange, guid):
        nt.pnp.queue(partial(_interface_changed, nt, guid, link, arrived))


def _interface_changed(nt: Kernel, guid: str, link: str, arrived: bool) -> None:
    for registration in _of(nt, c.EventCategoryDeviceInterfaceChange, guid):
        pnp_tell_interface(nt, registration, guid, link, arrived)


def pnp_tell_interface(
    nt: Kernel, registration: Notification, guid: str, link: str, arrived: bool
) -> None:
    """One callback with a DEVICE_INTERFACE_CHANGE_NOTIFICATION."""
    size = DEVICE_INTERFACE_CHANGE_NOTIFICATION.size
    block = nt.allocate_pool(size + UNICODE_STRING.size, "PpNo")
    text = make_unicode(nt, link)
    string = UNICODE_STRING.at(nt.mmu, block + size)
    set_unicode(string, text, 2 * len(link))
    event = guids.INTERFACE_ARRIVAL if arrived else guids.INTERFACE_REMOVAL
    head = (1).to_bytes(2, "little") + size.to_bytes(2, "little") + event + guids.guid_bytes(guid)
    data = head.ljust(0x28, b"\0") + int(string).to_bytes(8, "little")
    nt.mmu.write(block, data)
    pnp_call_back(nt, registration, block)
    nt.free_pool(text)
    nt.free_pool(block)


# The device behind an open file


def pnp_notify_target(nt: Kernel, node: Any, what: str) -> bool:
    """Tell those who registered for a device; False if one of them refuses a query-remove."""
    pdo = int(node.PhysicalDeviceObject)
    for registration in _of(nt, c.EventCategoryTargetDeviceChange, pdo):
        size = TARGET_DEVICE_REMOVAL_NOTIFICATION.size
        block = nt.allocate_pool(size, "PpNo")
        head = (1).to_bytes(2, "little") + size.to_bytes(2, "little") + TARGET_EVENTS[what]
        nt.mmu.write(block, head.ljust(0x18, b"\0") + registration.file.to_bytes(8, "little"))
        status = pnp_call_back(nt, registration, block)
        nt.free_pool(block)
        if what == "query" and not ntstatus.NT_SUCCESS(status):
            return False
    return True


def pnp_target_pdo(nt: Kernel, file: int) -> int:
    """The PDO of the stack that a file is open on, 0 if the stack has none."""
    device = FILE_OBJECT.at(nt.mmu, file).DeviceObject
    minor = c.IRP_MN_QUERY_DEVICE_RELATIONS
    status, relations = iop_synchronous_call(nt, device, minor, (c.TargetDeviceRelation,))
    if not ntstatus.NT_SUCCESS(status) or not relations:
        return 0
    pdo = nt.read_pointer(relations + 8)
    ExFreePool(nt, relations)
    nt.ob.dereference(pdo)
    return pdo


@export(irql="== PASSIVE")
def IoRegisterPlugPlayNotification(
    nt: Kernel,
    EventCategory: LONG,
    EventCategoryFlags: ULONG,
    EventCategoryData: PVOID,
    DriverObject: PDRIVER_OBJECT,
    CallbackRoutine: PVOID,
    Context: PVOID,
    NotificationEntry: Out[PVOID],
) -> NTSTATUS:
    """Have a routine called when interfaces of a class come and go, or about an open device.

    With PNPNOTIFY_DEVICE_INTERFACE_INCLUDE_EXISTING_INTERFACES it is called at once for each that
    is enabled. The driver object is referenced. Source: WDK IoRegisterPlugPlayNotification.
    """
    state = pnp(nt)
    subject: str | int = 0
    file = 0
    if EventCategory == c.EventCategoryDeviceInterfaceChange:
        subject = guids.read_guid(nt, EventCategoryData)
    elif EventCategory == c.EventCategoryTargetDeviceChange:
        file = int(EventCategoryData)
        subject = pnp_target_pdo(nt, file)
        if not subject:
            return ntstatus.STATUS_UNSUCCESSFUL
    elif EventCategory != c.EventCategoryHardwareProfileChange:
        return ntstatus.STATUS_INVALID_PARAMETER
    entry = nt.allocate_pool(0x10, "PpNe")
    made = Notification(
        entry, EventCategory, subject, CallbackRoutine, Context, int(DriverObject), file
    )
    nt.ob.reference(int(DriverObject))
    state.notifications.append(made)
    NotificationEntry[0] = entry
    if EventCategoryFlags & c.PNPNOTIFY_DEVICE_INTERFACE_INCLUDE_EXISTING_INTERFACES:
        for interface in list(state.interfaces.values()):
            if interface.enabled and interface.guid == subject:
                pnp_tell_interface(nt, made, interface.guid, interface.link, True)
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def IoUnregisterPlugPlayNotification(nt: Kernel, NotificationEntry: PVOID) -> NTSTATUS:
    """No more calls. Source: WDK IoUnregisterPlugPlayNotification."""
    found = pnp(nt).notifications
    for registration in found:
        if registration.entry == NotificationEntry:
            found.remove(registration)
            nt.free_pool(registration.entry)
            nt.ob.dereference(registration.driver)
            return ntstatus.STATUS_SUCCESS
    return ntstatus.STATUS_INVALID_PARAMETER


@export(irql="== PASSIVE")
def IoUnregisterPlugPlayNotificationEx(nt: Kernel, NotificationEntry: PVOID) -> NTSTATUS:
    """As IoUnregisterPlugPlayNotification; no call is under way when it returns. Source: WDK."""
    return IoUnregisterPlugPlayNotification(nt, NotificationEntry)


def _custom(nt: Kernel, pdo: int, structure: int) -> None:
    for registration in _of(nt, c.EventCategoryTargetDeviceChange, pdo):
        TARGET_DEVICE_CUSTOM_NOTIFICATION.at(nt.mmu, structure).FileObject = registration.file
        pnp_call_back(nt, registration, structure)


@export(irql="== PASSIVE")
def IoReportTargetDeviceChange(
    nt: Kernel, PhysicalDeviceObject: PDEVICE_OBJECT, NotificationStructure: PVOID
) -> NTSTATUS:
    """Tell those who registered for the device of an event of its driver's own; synchronous.

    The events of the system itself are refused. Source: WDK IoReportTargetDeviceChange.
    """
    pnp_require_pdo(nt, PhysicalDeviceObject)
    if nt.mmu.read(int(NotificationStructure) + 4, 16) in TARGET_EVENTS.values():
        return ntstatus.STATUS_INVALID_DEVICE_REQUEST
    _custom(nt, int(PhysicalDeviceObject), int(NotificationStructure))
    return ntstatus.STATUS_SUCCESS
