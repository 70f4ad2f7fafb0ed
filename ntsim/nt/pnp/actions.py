"""What drivers ask of the PnP manager: look at my bus, ask for my state, eject me.

All of it is done later by a system worker, one request after the other. A device that is no PDO is
0xCA/2. Source: WDK IoInvalidateDeviceRelations, IoInvalidateDeviceState, IoRequestDeviceEject;
Wine's ntoskrnl driver_pnp.c for "entirely asynchronous".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.scalars import DEVICE_RELATION_TYPE
from ntsim.nt.exports import export
from ntsim.nt.pnp import node as n
from ntsim.nt.pnp.enumerate import pnp_enumerate
from ntsim.nt.pnp.irp import iop_synchronous_call
from ntsim.nt.pnp.remove import pnp_missing, pnp_query_remove, pnp_remove, pnp_remove_stack
from ntsim.nt.pnp.start import pnp_start
from ntsim.nt.pnp.state import pnp_queue, pnp_require_pdo

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT
    from ntsim.nt.kernel import Kernel

ENUMERATING = (c.BusRelations, c.SingleBusRelations)


def _there(nt: Kernel, node: Any) -> bool:
    """Whether a node that was queued is in the tree still."""
    return node in nt.pnp.nodes.values()


@export(irql="<= DISPATCH")
def IoInvalidateDeviceRelations(
    nt: Kernel, DeviceObject: PDEVICE_OBJECT, Type: DEVICE_RELATION_TYPE
) -> None:
    """The children of the PDO's device have changed: enumerate again. Source: WDK."""
    node = pnp_require_pdo(nt, DeviceObject)
    if Type in ENUMERATING:
        pnp_queue(nt, pnp_enumerate_queued, node)


def pnp_enumerate_queued(nt: Kernel, node: Any) -> None:
    """Enumerate unless the device has gone meanwhile."""
    if _there(nt, node):
        pnp_enumerate(nt, node)


@export(irql="<= DISPATCH")
def IoInvalidateDeviceState(nt: Kernel, PhysicalDeviceObject: PDEVICE_OBJECT) -> None:
    """The device's PNP_DEVICE_STATE has changed: ask for it. Source: WDK."""
    node = pnp_require_pdo(nt, PhysicalDeviceObject)
    pnp_queue(nt, pnp_requery_state, node)


def pnp_requery_state(nt: Kernel, node: Any) -> None:
    """A started device that says it failed is removed as if it had been pulled out."""
    if not _there(nt, node) or node._v.State != n.STARTED:
        return
    pdo = node.PhysicalDeviceObject
    status, state = iop_synchronous_call(nt, pdo, c.IRP_MN_QUERY_PNP_DEVICE_STATE)
    if not ntstatus.NT_SUCCESS(status):
        return
    node._v.UserFlags = state & 0xFFFF_FFFF
    gone = state & (c.PNP_DEVICE_FAILED | c.PNP_DEVICE_REMOVED | c.PNP_DEVICE_DISABLED)
    if gone:
        for child in n.pip_children(node):
            pnp_missing(nt, child)
        iop_synchronous_call(nt, pdo, c.IRP_MN_SURPRISE_REMOVAL)
        n.pip_set_state(nt, node, n.AWAITING_REMOVAL)
        pnp_remove_stack(nt, node)
        n.pip_set_state(nt, node, n.REMOVED)
        n.pip_set_problem(node, n.PROBLEM_FAILED_POST_START, ntstatus.STATUS_UNSUCCESSFUL)
    elif state & c.PNP_DEVICE_RESOURCE_REQUIREMENTS_CHANGED:
        pnp_restart(nt, node)


def pnp_query_stop(nt: Kernel, node: Any) -> int:
    """Ask whether a device may be stopped for a while; a veto is followed by the cancel IRP."""
    pdo = node.PhysicalDeviceObject
    status, _ = iop_synchronous_call(nt, pdo, c.IRP_MN_QUERY_STOP_DEVICE)
    if ntstatus.NT_SUCCESS(status):
        n.pip_set_state(nt, node, n.QUERY_STOPPED)
    else:
        iop_synchronous_call(nt, pdo, c.IRP_MN_CANCEL_STOP_DEVICE)
    return status


def pnp_cancel_stop(nt: Kernel, node: Any) -> int:
    """The device need not stop after all."""
    pdo = node.PhysicalDeviceObject
    status, _ = iop_synchronous_call(nt, pdo, c.IRP_MN_CANCEL_STOP_DEVICE)
    n.pip_set_state(nt, node, n.STARTED)
    return status


def pnp_stop(nt: Kernel, node: Any) -> int:
    """IRP_MN_STOP_DEVICE: the device's resources may be changed; it keeps its stack."""
    pdo = node.PhysicalDeviceObject
    status, _ = iop_synchronous_call(nt, pdo, c.IRP_MN_STOP_DEVICE)
    n.pip_set_state(nt, node, n.STOPPED)
    return status


def pnp_restart(nt: Kernel, node: Any) -> None:
    """Stop and start: a rebalance of resources."""
    if ntstatus.NT_SUCCESS(pnp_query_stop(nt, node)):
        pnp_stop(nt, node)
        pnp_start(nt, node)


@export(irql="<= DISPATCH")
def IoRequestDeviceEject(nt: Kernel, PhysicalDeviceObject: PDEVICE_OBJECT) -> None:
    """The eject button: remove the device if everybody agrees, then IRP_MN_EJECT. Source: WDK."""
    node = pnp_require_pdo(nt, PhysicalDeviceObject)
    pnp_queue(nt, pnp_eject, node)


def pnp_eject(nt: Kernel, node: Any) -> None:
    """Orderly removal, the eject IRP to the bus, and another look at the bus."""
    if not _there(nt, node) or not ntstatus.NT_SUCCESS(pnp_query_remove(nt, node)):
        return
    parent, pdo = node.Parent, node.PhysicalDeviceObject
    pnp_remove(nt, node)
    iop_synchronous_call(nt, pdo, c.IRP_MN_EJECT)
    pnp_enumerate(nt, parent)
