"""What is on a bus: BusRelations, new children and missing ones.

A bus driver that reports NULL (0xCA/8), a device it has deleted (0xCA/4) or the same IDs twice
(0xCA/1) stops the system. A child that is no longer reported has been pulled out: surprise removal.
Source: WDK IRP_MN_QUERY_DEVICE_RELATIONS, "Adding a PnP Device to a Running System"; bug check 0xCA
reference; Wine's ntoskrnl driver_pnp.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import bugcodes, ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.io import DEVICE_OBJECT
from ntsim.abi.pnp import DEVICE_NODE, DEVICE_RELATIONS
from ntsim.nt.ex.allocate import ExFreePool
from ntsim.nt.io.device import iop_is_being_deleted
from ntsim.nt.pnp.irp import iop_synchronous_call
from ntsim.nt.pnp.node import (
    INITIALIZED,
    STARTED,
    pip_children_by_pdo,
    pip_link,
    pip_new_node,
    pip_set_state,
    pip_set_text,
)
from ntsim.nt.pnp.query import (
    pnp_enum_key,
    pnp_instance_id,
    pnp_query_capabilities,
    pnp_query_id,
    pnp_query_text,
    pnp_set,
)
from ntsim.nt.pnp.remove import pnp_missing
from ntsim.nt.pnp.start import pnp_bring_up

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

DUPLICATE_PDO, DELETED_PDO, NULL_RELATION = 1, 4, 8
_OBJECTS = DEVICE_RELATIONS.offset_of("Objects")


def pnp_relations(nt: Kernel, pdo: Any, kind: int) -> list[int] | None:
    """Addresses of the devices that a stack reports, each referenced by it; None if it has no
    answer."""
    status, address = iop_synchronous_call(nt, pdo, c.IRP_MN_QUERY_DEVICE_RELATIONS, (kind,))
    if not ntstatus.NT_SUCCESS(status) or not address:
        return None
    count = int.from_bytes(nt.mmu.read(address, 4), "little")
    found = list(memoryview(nt.mmu.read(address + _OBJECTS, 8 * count)).cast("Q"))
    if 0 in found:
        code = bugcodes.PNP_DETECTED_FATAL_ERROR
        nt.bugcheck(code, NULL_RELATION, int(pdo), count, found.index(0))
    ExFreePool(nt, address)
    return found


def pnp_enumerate(nt: Kernel, node: Any) -> None:
    """Ask a started device for its children, remove those that are gone, bring up new ones."""
    if node._v.State != STARTED:
        return
    reported = pnp_relations(nt, node.PhysicalDeviceObject, c.BusRelations)
    if reported is None:
        return
    known = pip_children_by_pdo(nt, node)
    there = set(reported)
    for pdo, child in known.items():
        if pdo not in there:
            pnp_missing(nt, DEVICE_NODE.at(nt.mmu, child))
    fresh = []
    for address in reported:
        if address in known:
            nt.ob.dereference(address)
            continue
        pdo = DEVICE_OBJECT.at(nt.mmu, address)
        if iop_is_being_deleted(nt, pdo):
            nt.bugcheck(bugcodes.PNP_DETECTED_FATAL_ERROR, DELETED_PDO, address, 0, 0)
        pdo._v.Flags |= c.DO_BUS_ENUMERATED_DEVICE
        child = nt.pnp.nodes[address] = pip_new_node(nt, pdo)
        pip_link(node, child)
        fresh.append(child)
    for child in fresh:
        pnp_identify(nt, node, child)
        pnp_set_up(nt, child)


def pnp_identify(nt: Kernel, parent: Any, node: Any) -> None:
    """Learn who a new device is, before any other driver of its stack exists."""
    pdo = node.PhysicalDeviceObject
    device_id = next(iter(pnp_query_id(nt, pdo, c.BusQueryDeviceID)), "")
    flags = pnp_query_capabilities(nt, node)
    description = pnp_query_text(nt, pdo, c.DeviceTextDescription)
    location = pnp_query_text(nt, pdo, c.DeviceTextLocationInformation)
    instance = next(iter(pnp_query_id(nt, pdo, c.BusQueryInstanceID)), "")
    path = f"{device_id or 'UNKNOWN'}\\{pnp_instance_id(flags, instance, parent)}"
    pnp_refuse_duplicate(nt, parent, node, path)
    pip_set_text(nt, node.InstancePath, path.upper())
    pip_set_text(nt, node.UniqueId, instance)
    key = pnp_enum_key(nt, node)
    assert key is not None, path
    hardware = pnp_query_id(nt, pdo, c.BusQueryHardwareIDs)
    compatible = pnp_query_id(nt, pdo, c.BusQueryCompatibleIDs)
    iop_synchronous_call(nt, pdo, c.IRP_MN_QUERY_ID, (c.BusQueryContainerID,))
    pnp_set(nt, key, "Capabilities", flags)
    for name, content in (
        ("HardwareID", hardware), ("CompatibleIDs", compatible), ("DeviceDesc", description),
        ("LocationInformation", location),
    ):  # fmt: skip
        if content:
            pnp_set(nt, key, name, content)
    pip_set_state(nt, node, INITIALIZED)


def pnp_refuse_duplicate(nt: Kernel, parent: Any, node: Any, path: str) -> None:
    """Two PDOs of one bus with the same device and instance ID: 0xCA/1."""
    old = nt.pnp.paths.setdefault(path.upper(), int(node.PhysicalDeviceObject))
    new = int(node.PhysicalDeviceObject)
    if old != new and nt.pnp.nodes[old].Parent == parent:
        nt.bugcheck(bugcodes.PNP_DETECTED_FATAL_ERROR, DUPLICATE_PDO, new, old, 0)


def pnp_set_up(nt: Kernel, node: Any) -> None:
    """Load and start a device, then whatever is on the bus that it turns out to be."""
    if pnp_bring_up(nt, node):
        pnp_enumerate(nt, node)
