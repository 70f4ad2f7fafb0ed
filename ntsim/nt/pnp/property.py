"""Properties and registry keys of a device: what it was asked when it was found.

Most are values of the device's key under Enum. A device that is no PDO is 0xCA/2. Source: WDK
IoGetDeviceProperty, IoOpenDeviceRegistryKey, IoGetDeviceNumaNode; bug check 0xCA reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.scalars import ACCESS_MASK, HANDLE, LONG, NTSTATUS, PVOID, ULONG, USHORT
from ntsim.nt.cm.keys import cm_open
from ntsim.nt.cm.registry import Content, from_python
from ntsim.nt.exports import Out, export
from ntsim.nt.pnp.node import pip_instance_path
from ntsim.nt.pnp.query import pnp_enum_key, pnp_get, pnp_set
from ntsim.nt.pnp.state import pnp_require_pdo

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT
    from ntsim.nt.kernel import Kernel

VALUES = {
    c.DevicePropertyDeviceDescription: "DeviceDesc",
    c.DevicePropertyHardwareID: "HardwareID",
    c.DevicePropertyCompatibleIDs: "CompatibleIDs",
    c.DevicePropertyClassName: "Class",
    c.DevicePropertyClassGuid: "ClassGUID",
    c.DevicePropertyDriverKeyName: "Driver",
    c.DevicePropertyManufacturer: "Mfg",
    c.DevicePropertyFriendlyName: "FriendlyName",
    c.DevicePropertyLocationInformation: "LocationInformation",
    c.DevicePropertyAddress: "Address",
    c.DevicePropertyUINumber: "UINumber",
}
"""DEVICE_REGISTRY_PROPERTY to the value of the Enum key that holds it."""

RESOURCES = {
    c.DevicePropertyAllocatedResources: "ResourceList",
    c.DevicePropertyResourceRequirements: "ResourceRequirements",
}
SYSTEM_CLASS = "{4d36e97d-e325-11ce-bfc1-08002be10318}"
CLASS = "\\Registry\\Machine\\SYSTEM\\CurrentControlSet\\Control\\Class"
DEVICE_KEY, DRIVER_KEY = c.PLUGPLAY_REGKEY_DEVICE, c.PLUGPLAY_REGKEY_DRIVER


def pnp_property(nt: Kernel, node: Any, property_number: int) -> bytes | None:
    """A property's data, None if the device has none."""
    content: Content | None
    if property_number == c.DevicePropertyPhysicalDeviceObjectName:
        content = nt.ob.full_name(int(node.PhysicalDeviceObject))
    elif property_number == c.DevicePropertyEnumeratorName:
        content = pip_instance_path(nt, node).partition("\\")[0]
    elif property_number in (c.DevicePropertyInstallState, c.DevicePropertyBusNumber):
        content = 0
    elif property_number in RESOURCES:
        return pnp_resource_bytes(nt, node, property_number)
    else:
        name = VALUES.get(property_number)
        content = pnp_get(nt, node, name) if name else None
    return None if content is None else from_python(content)[1]


def pnp_resource_bytes(nt: Kernel, node: Any, property_number: int) -> bytes | None:
    """A copy of a resource list of the node's."""
    address = getattr(node._v, RESOURCES[property_number])
    if not address:
        return None
    if property_number == c.DevicePropertyResourceRequirements:
        size = int.from_bytes(nt.mmu.read(address, 4), "little")
    else:
        size = 0x14 + 0x14 * int.from_bytes(nt.mmu.read(address + 0x10, 4), "little")
    return nt.mmu.read(address, size)


@export(irql="== PASSIVE")
def IoGetDeviceProperty(
    nt: Kernel,
    DeviceObject: PDEVICE_OBJECT,
    DeviceProperty: LONG,
    BufferLength: ULONG,
    PropertyBuffer: PVOID,
    ResultLength: Out[ULONG],
) -> NTSTATUS:
    """A property of a PDO and its size in bytes.

    STATUS_BUFFER_TOO_SMALL with the size that is needed, STATUS_OBJECT_NAME_NOT_FOUND if the device
    has none, STATUS_INVALID_PARAMETER_2 if there is no such property. Source: WDK.
    """
    node = pnp_require_pdo(nt, DeviceObject)
    if not 0 <= DeviceProperty <= c.DevicePropertyContainerID:
        return ntstatus.STATUS_INVALID_PARAMETER_2
    data = pnp_property(nt, node, DeviceProperty)
    ResultLength[0] = len(data) if data is not None else 0
    if data is None:
        return ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
    if len(data) > BufferLength:
        return ntstatus.STATUS_BUFFER_TOO_SMALL
    nt.mmu.write(int(PropertyBuffer), data)
    return ntstatus.STATUS_SUCCESS


def pnp_driver_key(nt: Kernel, node: Any) -> str:
    """The device's software key, below its class; made at the first question."""
    found = pnp_get(nt, node, "Driver")
    if not isinstance(found, str):
        parent = nt.cm.create(f"{CLASS}\\{SYSTEM_CLASS}")
        found = f"{SYSTEM_CLASS}\\{len(parent.subkeys):04}"
        key = pnp_enum_key(nt, node)
        assert key is not None, "the PnP manager knows the device"
        pnp_set(nt, key, "Driver", found)
        pnp_set(nt, key, "ClassGUID", SYSTEM_CLASS)
    return f"{CLASS}\\{found}"


@export(irql="== PASSIVE")
def IoOpenDeviceRegistryKey(
    nt: Kernel,
    DeviceObject: PDEVICE_OBJECT,
    DevInstKeyType: ULONG,
    DesiredAccess: ACCESS_MASK,
    DeviceRegKey: Out[HANDLE],
) -> NTSTATUS:
    """A handle to the device's own parameters, or to its driver's key for it. Source: WDK."""
    node = pnp_require_pdo(nt, DeviceObject)
    kind = DevInstKeyType & (DEVICE_KEY | DRIVER_KEY)
    if kind not in (DEVICE_KEY, DRIVER_KEY):
        return ntstatus.STATUS_INVALID_PARAMETER
    if kind == DEVICE_KEY:
        base = pnp_enum_key(nt, node)
        assert base is not None, "the PnP manager knows the device"
        path = f"{base.path}\\Device Parameters"
    else:
        path = pnp_driver_key(nt, node)
    key = nt.cm.create(path)
    return cm_open(nt, key, DesiredAccess, c.OBJ_KERNEL_HANDLE, DeviceRegKey)


@export(irql="== PASSIVE")
def IoGetDeviceNumaNode(nt: Kernel, Pdo: PDEVICE_OBJECT, NodeNumber: Out[USHORT]) -> NTSTATUS:
    """Node 0: the machine has one. Source: WDK IoGetDeviceNumaNode."""
    NodeNumber[0] = 0
    return ntstatus.STATUS_SUCCESS
