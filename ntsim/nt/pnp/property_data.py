"""Unified properties of devices and of their interfaces, named by a GUID and a number.

What the system itself knows (DEVPKEY_Device_*, DEVPKEY_DeviceInterface_*) is answered from where
IoGetDeviceProperty finds it; a driver's own properties are values below the Properties key of the
device or the interface, of type 0xFFFF0000 plus the DEVPROPTYPE. Source: WDK
IoGetDevicePropertyData, IoSetDevicePropertyData and the pages for interfaces; devpkey.h;
devpropdef.h. That the system's own identification cannot be set (STATUS_ACCESS_DENIED) is inferred.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.scalars import NTSTATUS, PVOID, ULONG
from ntsim.nt.cm.registry import Key, from_python
from ntsim.nt.exports import Out, export
from ntsim.nt.pnp.guids import guid_bytes, guid_text
from ntsim.nt.pnp.interfaces import Interface, pnp_interface_key
from ntsim.nt.pnp.node import pip_instance_path
from ntsim.nt.pnp.property import pnp_property
from ntsim.nt.pnp.query import pnp_enum_key, pnp_get, pnp_set
from ntsim.nt.pnp.state import pnp, pnp_node, pnp_require_pdo
from ntsim.nt.rtl.codepage import wide_decode
from ntsim.nt.rtl.text import read_unicode

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT
    from ntsim.abi.pnp import PDEVPROPKEY
    from ntsim.abi.rtl import PUNICODE_STRING
    from ntsim.nt.kernel import Kernel

Name = tuple[str, int]
"""GUID in text and number."""
Property = tuple[int, bytes]
"""DEVPROPTYPE and data."""

STRING, LIST, NUMBER = c.DEVPROP_TYPE_STRING, c.DEVPROP_TYPE_STRING_LIST, c.DEVPROP_TYPE_UINT32
DEVICE = "{a45c254e-df1c-4efd-8020-67d146a850e0}"
INTERFACE = "{026e516e-b814-414b-83cd-856d6fef4822}"
INSTANCE_ID: Name = ("{78c34fc8-104a-4aca-9ea4-524d52996e57}", 256)
NAME: Name = ("{b725f130-47ef-101a-a5f1-02608c9eebac}", 10)
VALUE_TYPE = 0xFFFF_0000

KNOWN = {
    2: (STRING, c.DevicePropertyDeviceDescription, "DeviceDesc"),
    3: (LIST, c.DevicePropertyHardwareID, ""),
    4: (LIST, c.DevicePropertyCompatibleIDs, ""),
    9: (STRING, c.DevicePropertyClassName, ""),
    10: (c.DEVPROP_TYPE_GUID, c.DevicePropertyClassGuid, ""),
    11: (STRING, c.DevicePropertyDriverKeyName, ""),
    13: (STRING, c.DevicePropertyManufacturer, "Mfg"),
    14: (STRING, c.DevicePropertyFriendlyName, "FriendlyName"),
    15: (STRING, c.DevicePropertyLocationInformation, "LocationInformation"),
    16: (STRING, c.DevicePropertyPhysicalDeviceObjectName, ""),
    18: (NUMBER, c.DevicePropertyUINumber, "UINumber"),
    23: (NUMBER, c.DevicePropertyBusNumber, ""),
    24: (STRING, c.DevicePropertyEnumeratorName, ""),
    30: (NUMBER, c.DevicePropertyAddress, ""),
    36: (NUMBER, c.DevicePropertyInstallState, ""),
}
"""DEVPKEY_Device_ number to type, DEVICE_REGISTRY_PROPERTY, and the value that sets it."""

SERVICE, CAPABILITIES = 6, 17
"""DEVPKEY_Device_Service and _Capabilities: values of the Enum key alone."""


def text_data(text: str) -> bytes:
    return (text + "\0").encode("utf-16-le")


def key_of(nt: Kernel, property_key: PDEVPROPKEY) -> Name:
    return guid_text(nt.mmu.read(int(property_key), 16)), int(property_key.pid)


def wrong_locale(locale: int) -> bool:
    """The two placeholders that are no locale."""
    return locale in (c.LOCALE_USER_DEFAULT, c.LOCALE_SYSTEM_DEFAULT)


def values_key(nt: Kernel, base: Key, name: Name) -> Key:
    """Where a driver's own property is, a value for each locale."""
    return nt.cm.create(f"{base.path}\\Properties\\{name[0]}\\{name[1]:04x}")


def value_name(locale: int) -> str:
    return f"{locale:08x}" if locale else ""


def stored(nt: Kernel, base: Key, name: Name, locale: int) -> Property | None:
    """A property that a driver has set."""
    found = values_key(nt, base, name).values.get(value_name(locale))
    return (found.type & 0xFFFF, found.data) if found is not None else None


def store(nt: Kernel, base: Key, name: Name, locale: int, value: Property | None) -> int:
    """Set or delete it; deleting what is not there is STATUS_OBJECT_NAME_NOT_FOUND."""
    key = values_key(nt, base, name)
    if value is not None:
        nt.cm.write(key, value_name(locale), VALUE_TYPE | value[0], value[1])
    elif key.values.pop(value_name(locale), None) is None:
        return ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
    return ntstatus.STATUS_SUCCESS


def device_property(nt: Kernel, node: Any, name: Name) -> Property | None:
    """What the system knows of a device."""
    if name == INSTANCE_ID:
        return STRING, text_data(pip_instance_path(nt, node))
    if name == NAME:
        friendly = device_property(nt, node, (DEVICE, 14))
        return friendly or device_property(nt, node, (DEVICE, 2))
    if name[0] != DEVICE:
        return None
    if name[1] in (SERVICE, CAPABILITIES):
        content = pnp_get(nt, node, "Service" if name[1] == SERVICE else "Capabilities")
        return (STRING if name[1] == SERVICE else NUMBER, from_python(content)[1]) if (
            content is not None
        ) else None
    if name[1] not in KNOWN:
        return None
    kind, number, _ = KNOWN[name[1]]
    data = pnp_property(nt, node, number)
    if data is not None and kind == c.DEVPROP_TYPE_GUID:
        data = guid_bytes(wide_decode(data).rstrip("\0"))
    return None if data is None else (kind, data)


def interface_property(nt: Kernel, interface: Interface, name: Name) -> Property | None:
    """What the system knows of an interface: whether it is enabled, its class, its device."""
    if name == (INTERFACE, 3):
        return c.DEVPROP_TYPE_BOOLEAN, bytes([c.DEVPROP_TRUE if interface.enabled else 0])
    if name == (INTERFACE, 4):
        return c.DEVPROP_TYPE_GUID, guid_bytes(interface.guid)
    if name == INSTANCE_ID:
        node = pnp_node(nt, interface.pdo)
        return (STRING, text_data(pip_instance_path(nt, node))) if node else None
    return None


def answer(
    nt: Kernel,
    found: Property | None,
    room: tuple[int, int],
    required: Out[ULONG],
    kind: Out[ULONG],
) -> int:
    """Store a property; `room` is (size, address) of the caller's buffer."""
    required[0] = len(found[1]) if found is not None else 0
    kind[0] = found[0] if found is not None else c.DEVPROP_TYPE_EMPTY
    if found is None:
        return ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
    if room[0] < len(found[1]):
        return ntstatus.STATUS_BUFFER_TOO_SMALL
    nt.mmu.write(room[1], found[1])
    return ntstatus.STATUS_SUCCESS


def given(nt: Kernel, kind: int, size: int, data: int) -> Property | None:
    """The property that a caller sets; None: it is to be deleted."""
    if not data or kind == c.DEVPROP_TYPE_EMPTY:
        return None
    return kind & 0xFFFF, nt.mmu.read(data, size) if size else b""


@export(irql="== PASSIVE")
def IoGetDevicePropertyData(
    nt: Kernel,
    Pdo: PDEVICE_OBJECT,
    PropertyKey: PDEVPROPKEY,
    Lcid: ULONG,
    Flags: ULONG,
    Size: ULONG,
    Data: PVOID,
    RequiredSize: Out[ULONG],
    Type: Out[ULONG],
) -> NTSTATUS:
    """A property of a PDO, its size in bytes and DEVPROPTYPE.

    STATUS_BUFFER_TOO_SMALL with the size that is needed, STATUS_OBJECT_NAME_NOT_FOUND if there is
    none, STATUS_UNSUCCESSFUL for a locale that is none. What is no PDO is bug check 0xCA.
    """
    node = pnp_require_pdo(nt, Pdo)
    if wrong_locale(Lcid):
        return ntstatus.STATUS_UNSUCCESSFUL
    name, base = key_of(nt, PropertyKey), pnp_enum_key(nt, node)
    found = device_property(nt, node, name)
    if found is None and base is not None:
        found = stored(nt, base, name, Lcid)
    return answer(nt, found, (Size, int(Data)), RequiredSize, Type)


@export(irql="== PASSIVE")
def IoSetDevicePropertyData(
    nt: Kernel,
    Pdo: PDEVICE_OBJECT,
    PropertyKey: PDEVPROPKEY,
    Lcid: ULONG,
    Flags: ULONG,
    Type: ULONG,
    Size: ULONG,
    Data: PVOID,
) -> NTSTATUS:
    """Set a property of a PDO for a locale, or with Data NULL delete it; Flags make no difference.

    Description, manufacturer, friendly name, location and UI number are the system's too; the rest
    of what identifies the device is STATUS_ACCESS_DENIED.
    """
    node = pnp_require_pdo(nt, Pdo)
    if wrong_locale(Lcid):
        return ntstatus.STATUS_UNSUCCESSFUL
    name, base = key_of(nt, PropertyKey), pnp_enum_key(nt, node)
    if base is None:
        return ntstatus.STATUS_INVALID_DEVICE_REQUEST
    value = given(nt, Type, Size, int(Data))
    if name in (INSTANCE_ID, NAME) or (name[0] == DEVICE and name[1] in (SERVICE, CAPABILITIES)):
        return ntstatus.STATUS_ACCESS_DENIED
    if name[0] == DEVICE and name[1] in KNOWN:
        return set_known(nt, base, name[1], value)
    return store(nt, base, name, Lcid, value)


def set_known(nt: Kernel, base: Key, number: int, value: Property | None) -> int:
    """One of the system's own properties, a value of the device's key."""
    kind, _, registry_name = KNOWN[number]
    if not registry_name:
        return ntstatus.STATUS_ACCESS_DENIED
    if value is None:
        base.values.pop(registry_name.lower(), None)
        return ntstatus.STATUS_SUCCESS
    if value[0] != kind:
        return ntstatus.STATUS_INVALID_PARAMETER
    text = wide_decode(value[1]).rstrip("\0")
    number_value = int.from_bytes(value[1][:4], "little")
    pnp_set(nt, base, registry_name, number_value if kind == NUMBER else text)
    return ntstatus.STATUS_SUCCESS


def interface_of(nt: Kernel, link: PUNICODE_STRING) -> tuple[Interface | None, Key | None]:
    """An interface by its symbolic link, and its key."""
    found = pnp(nt).interfaces.get(read_unicode(nt.mmu, link).lower())
    return found, nt.cm.create(pnp_interface_key(found)) if found is not None else None


@export(irql="== PASSIVE")
def IoGetDeviceInterfacePropertyData(
    nt: Kernel,
    SymbolicLinkName: PUNICODE_STRING,
    PropertyKey: PDEVPROPKEY,
    Lcid: ULONG,
    Flags: ULONG,
    Size: ULONG,
    Data: PVOID,
    RequiredSize: Out[ULONG],
    Type: Out[ULONG],
) -> NTSTATUS:
    """A property of an interface, as IoGetDevicePropertyData of a device."""
    if wrong_locale(Lcid):
        return ntstatus.STATUS_UNSUCCESSFUL
    interface, base = interface_of(nt, SymbolicLinkName)
    if interface is None or base is None:
        return ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
    name = key_of(nt, PropertyKey)
    found = interface_property(nt, interface, name) or stored(nt, base, name, Lcid)
    return answer(nt, found, (Size, int(Data)), RequiredSize, Type)


@export(irql="== PASSIVE")
def IoSetDeviceInterfacePropertyData(
    nt: Kernel,
    SymbolicLinkName: PUNICODE_STRING,
    PropertyKey: PDEVPROPKEY,
    Lcid: ULONG,
    Flags: ULONG,
    Type: ULONG,
    Size: ULONG,
    Data: PVOID,
) -> NTSTATUS:
    """Set or delete a property of an interface."""
    if wrong_locale(Lcid):
        return ntstatus.STATUS_UNSUCCESSFUL
    interface, base = interface_of(nt, SymbolicLinkName)
    if interface is None or base is None:
        return ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
    name = key_of(nt, PropertyKey)
    if interface_property(nt, interface, name) is not None:
        return ntstatus.STATUS_ACCESS_DENIED
    return store(nt, base, name, Lcid, given(nt, Type, Size, int(Data)))
