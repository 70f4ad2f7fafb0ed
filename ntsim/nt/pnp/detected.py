"""Devices that a driver finds by itself: IoReportDetectedDevice.

The device gets a PDO on the root bus and a node that counts as started; AddDevice is not called,
because the driver that found it attaches to the PDO itself. Source: WDK IoReportDetectedDevice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import BOOLEAN, LONG, NTSTATUS, PVOID, ULONG
from ntsim.nt.exports import export
from ntsim.nt.pnp.bus import pnp_new_pdo
from ntsim.nt.pnp.enumerate import pnp_identify
from ntsim.nt.pnp.hardware import Hardware
from ntsim.nt.pnp.node import STARTED, pip_link, pip_new_node, pip_set_state, pip_set_text
from ntsim.nt.pnp.query import pnp_enum_key, pnp_set
from ntsim.nt.pnp.state import pnp

if TYPE_CHECKING:
    from ntsim.abi.io import PDRIVER_OBJECT
    from ntsim.nt.kernel import Kernel


@export(irql="== PASSIVE")
def IoReportDetectedDevice(
    nt: Kernel,
    DriverObject: PDRIVER_OBJECT,
    LegacyBusType: LONG,
    BusNumber: ULONG,
    SlotNumber: ULONG,
    ResourceList: PVOID,
    ResourceRequirements: PVOID,
    ResourceAssigned: BOOLEAN,
    DeviceObject: PVOID,
) -> NTSTATUS:
    """Report a device of the calling driver; *DeviceObject is its PDO, given or made.

    The resources are not looked at. STATUS_UNSUCCESSFUL if the driver object is none. Source: WDK.
    """
    driver = nt.io.drivers.get(int(DriverObject))
    if driver is None:
        return ntstatus.STATUS_UNSUCCESSFUL
    state = pnp(nt)
    with state.locked():
        given = nt.read_pointer(int(DeviceObject))
        pdo = nt.io.device_at(given) if given else pnp_new_pdo(nt, state)
        device_id = f"ROOT\\{driver.service.upper()}"
        alike = [h for h in state.hardware.values() if h.hardware_id == device_id]
        if not given:
            instance = f"{len(alike):04}"
            state.hardware[int(pdo)] = Hardware(device_id, instance=instance)
        nt.ob.reference(int(pdo))
        node = state.nodes[int(pdo)] = pip_new_node(nt, pdo)
        pip_link(state.root, node)
        pnp_identify(nt, state.root, node)
        pip_set_text(nt, node.ServiceName, driver.service)
        key = pnp_enum_key(nt, node)
        assert key is not None, "the PnP manager has just named the device"
        pnp_set(nt, key, "Service", driver.service)
        pip_set_state(nt, node, STARTED)
    nt.write_pointer(int(DeviceObject), int(pdo))
    return ntstatus.STATUS_SUCCESS
