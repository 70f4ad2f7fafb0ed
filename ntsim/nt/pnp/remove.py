"""Removing devices: asked for, or pulled out.

Asked: IRP_MN_QUERY_REMOVE_DEVICE to every stack, children first; a veto or an open handle sends
IRP_MN_CANCEL_REMOVE_DEVICE to all that were asked. Then IRP_MN_REMOVE_DEVICE, children first.
Pulled out: IRP_MN_SURPRISE_REMOVAL at once, IRP_MN_REMOVE_DEVICE when nobody has the device open
any more. A driver without devices is unloaded afterwards. Source: WDK "Removing a Device" and the
IRP_MN_* pages; Wine's ntoskrnl driver_pnp.c; Windows Internals 7, part 1, chapter 6.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.io import DEVOBJ_EXTENSION
from ntsim.nt.io.driver import iop_call_unload, iop_is_busy
from ntsim.nt.pnp import node as n
from ntsim.nt.pnp.interfaces import pnp_disable_interfaces
from ntsim.nt.pnp.irp import iop_synchronous_call
from ntsim.nt.pnp.notification import pnp_notify_target
from ntsim.nt.vf.finding import vf_report

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

REMOVE_PENDING, REMOVE_PROCESSED = 0x4, 0x8
"""DOE_* of DEVOBJ_EXTENSION.ExtensionFlags."""

UP = (n.DRIVERS_ADDED, n.RESOURCES_ASSIGNED, n.STARTED, n.STOPPED, n.QUERY_STOPPED, n.QUERY_REMOVED)


def pnp_devices(nt: Kernel, node: Any) -> list[Any]:
    """The device objects of a stack, from below."""
    device = node.PhysicalDeviceObject
    found = [device]
    while device._v.AttachedDevice:
        device = device.AttachedDevice
        found.append(device)
    return found


def pnp_is_open(nt: Kernel, node: Any) -> bool:
    """Whether somebody has a device of the stack open."""
    return any(device._v.ReferenceCount for device in pnp_devices(nt, node))


def pnp_is_up(nt: Kernel, node: Any) -> bool:
    """Whether the device has a stack that knows of it."""
    return node._v.State in UP


def pnp_query_remove(nt: Kernel, node: Any) -> int:
    """Ask whether a device and all below it may go; 0, or the status of the veto."""
    asked: list[Any] = []
    status = ntstatus.STATUS_SUCCESS
    for each in n.pip_subtree(node):
        if not pnp_is_up(nt, each):
            continue
        asked.append(each)
        status = _query_one(nt, each)
        if not ntstatus.NT_SUCCESS(status):
            break
    if ntstatus.NT_SUCCESS(status) and any(pnp_is_open(nt, each) for each in asked):
        status = ntstatus.STATUS_PLUGPLAY_QUERY_VETOED
    if not ntstatus.NT_SUCCESS(status):
        pnp_cancel_remove(nt, asked)
    return status


def _query_one(nt: Kernel, node: Any) -> int:
    if not pnp_notify_target(nt, node, "query"):
        return ntstatus.STATUS_PLUGPLAY_QUERY_VETOED
    pdo = node.PhysicalDeviceObject
    status, _ = iop_synchronous_call(nt, pdo, c.IRP_MN_QUERY_REMOVE_DEVICE)
    if ntstatus.NT_SUCCESS(status):
        n.pip_set_state(nt, node, n.QUERY_REMOVED)
    return status


def pnp_cancel_remove(nt: Kernel, nodes: list[Any]) -> None:
    """The removal does not take place: tell everybody who was asked, parents first."""
    for node in reversed(nodes):
        iop_synchronous_call(nt, node.PhysicalDeviceObject, c.IRP_MN_CANCEL_REMOVE_DEVICE)
        if node._v.State == n.QUERY_REMOVED:
            n.pip_set_state(nt, node, node._v.PreviousState)
        pnp_notify_target(nt, node, "cancel")


def pnp_remove_stack(nt: Kernel, node: Any) -> None:
    """IRP_MN_REMOVE_DEVICE: the drivers above the PDO detach and delete their devices."""
    drivers = [device._v.DriverObject for device in pnp_devices(nt, node)]
    pnp_disable_interfaces(nt, node)
    pdo = node.PhysicalDeviceObject
    extension = DEVOBJ_EXTENSION.at(nt.mmu, pdo._v.DeviceObjectExtension)._v
    extension.ExtensionFlags |= REMOVE_PENDING
    nt.ob.reference(int(pdo))
    iop_synchronous_call(nt, pdo, c.IRP_MN_REMOVE_DEVICE)
    if pdo._v.AttachedDevice:
        above = nt.io.driver_name(pdo.AttachedDevice._v.DriverObject)
        text = f"{above} is attached to the device still after IRP_MN_REMOVE_DEVICE"
        vf_report(nt, "device-left-attached", above, text)
    extension.ExtensionFlags &= ~REMOVE_PENDING
    nt.ob.dereference(int(pdo))
    for driver in dict.fromkeys(drivers):
        pnp_unload_idle(nt, driver)


def pnp_unload_idle(nt: Kernel, address: int) -> None:
    """A PnP driver whose last device has gone is unloaded."""
    driver = nt.io.drivers.get(address)
    if driver is None or driver.unloaded or address == int(nt.pnp.bus):
        return
    v = driver.object._v
    if v.Flags & c.DRVO_LEGACY_DRIVER or v.DeviceObject or not v.DriverUnload:
        return
    if not iop_is_busy(nt, driver):
        iop_call_unload(nt, driver)


def pnp_remove(nt: Kernel, node: Any) -> None:
    """Take a device and all below it down, children first; nodes below go for good."""
    for each in list(n.pip_subtree(node)):
        if pnp_is_up(nt, each):
            n.pip_set_state(nt, each, n.AWAITING_REMOVAL)
            pnp_remove_stack(nt, each)
            pnp_notify_target(nt, each, "complete")
        n.pip_set_state(nt, each, n.REMOVED)
        if each != node:
            pnp_delete_node(nt, each)


def pnp_delete_node(nt: Kernel, node: Any) -> None:
    """The hardware is gone too: the node leaves the tree, and its reference to the PDO goes."""
    n.pip_set_state(nt, node, n.DELETED)
    if node.Parent:
        n.pip_unlink(node)
    pdo = int(node.PhysicalDeviceObject)
    nt.pnp.nodes.pop(pdo, None)
    path = n.pip_instance_path(nt, node)
    if nt.pnp.paths.get(path) == pdo:
        del nt.pnp.paths[path]
    n.pip_free_node(nt, node)


def pnp_missing(nt: Kernel, node: Any) -> None:
    """The bus no longer reports a device: surprise removal, parents first, of all below it."""
    removed = [each for each in n.pip_subtree(node) if pnp_is_up(nt, each)]
    for each in reversed(removed):
        pnp_disable_interfaces(nt, each)
        iop_synchronous_call(nt, each.PhysicalDeviceObject, c.IRP_MN_SURPRISE_REMOVAL)
        n.pip_set_state(nt, each, n.REMOVE_PENDING_CLOSES)
        for device in pnp_devices(nt, each):
            extension = DEVOBJ_EXTENSION.at(nt.mmu, device._v.DeviceObjectExtension)._v
            extension.ExtensionFlags |= REMOVE_PROCESSED
    for each in reversed(removed):
        pnp_notify_target(nt, each, "complete")
    pnp_finish_surprise(nt, node)


def pnp_finish_surprise(nt: Kernel, node: Any) -> None:
    """After the last close of a device that is gone: IRP_MN_REMOVE_DEVICE, children first."""
    subtree = list(n.pip_subtree(node))
    if any(pnp_is_open(nt, each) for each in subtree):
        return
    for each in subtree:
        pnp_remove_stack(nt, each)
        n.pip_set_state(nt, each, n.REMOVED)
        pnp_delete_node(nt, each)


def pnp_device_closed(nt: Kernel, device: Any) -> None:
    """A device was closed for the last time; perhaps its removal waited for that."""
    for node in list(nt.pnp.nodes.values()):
        if node._v.State == n.REMOVE_PENDING_CLOSES and device in pnp_devices(nt, node):
            root = node
            while root.Parent._v.State == n.REMOVE_PENDING_CLOSES:
                root = root.Parent
            nt.pnp.queue(partial(_finish_if_there, nt, root))
            return


def _finish_if_there(nt: Kernel, node: Any) -> None:
    if node in nt.pnp.nodes.values():
        pnp_finish_surprise(nt, node)
