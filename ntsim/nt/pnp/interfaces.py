"""Device interfaces: names of a device by class, which an app opens without knowing the device.

Registered, an interface is a key below Control\\DeviceClasses; enabled, it is a symbolic link to
the PDO's name. Enabling before the device is started takes effect when it is. Source: WDK
IoRegisterDeviceInterface, IoSetDeviceInterfaceState, IoGetDeviceInterfaces.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.scalars import ACCESS_MASK, BOOLEAN, HANDLE, NTSTATUS, PVOID, ULONG
from ntsim.nt.cm.keys import cm_open
from ntsim.nt.exports import Out, export
from ntsim.nt.io.driver import make_unicode
from ntsim.nt.ob.namespace import ob_create_link, ob_lookup
from ntsim.nt.ob.objects import set_unicode
from ntsim.nt.pnp.guids import read_guid
from ntsim.nt.pnp.node import STARTED, pip_instance_path
from ntsim.nt.pnp.notification import pnp_notify_interface
from ntsim.nt.pnp.state import pnp, pnp_node
from ntsim.nt.rtl.text import read_unicode

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT
    from ntsim.abi.rtl import PGUID, PUNICODE_STRING
    from ntsim.nt.kernel import Kernel

LINK = re.compile(
    r"\\[?\\]\?\\[^\\]+\{[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}(\\|$)", re.IGNORECASE
)
"""An interface's name: prefix, device, class, perhaps a reference string."""
CLASSES = "\\Registry\\Machine\\SYSTEM\\CurrentControlSet\\Control\\DeviceClasses"


@dataclass(eq=False, slots=True)
class Interface:
    """`link` is the whole name, `base` without the reference string: the symbolic link itself."""

    guid: str
    link: str
    base: str
    pdo: int
    enabled: bool = False
    wanted: bool = False


def pnp_interface_key(interface: Interface) -> str:
    """The interface's key: backslashes of its name become #."""
    name = interface.base.replace("\\", "#")
    reference = interface.link[len(interface.base) + 1 :]
    return f"{CLASSES}\\{interface.guid}\\{name}\\#{reference}"


@export(irql="== PASSIVE")
def IoRegisterDeviceInterface(
    nt: Kernel,
    PhysicalDeviceObject: PDEVICE_OBJECT,
    InterfaceClassGuid: PGUID,
    ReferenceString: PUNICODE_STRING,
    SymbolicLinkName: PUNICODE_STRING,
) -> NTSTATUS:
    """Register an interface of a PDO; its name in a string that RtlFreeUnicodeString frees.

    STATUS_INVALID_DEVICE_REQUEST if the device is no PDO that has been enumerated, or the reference
    string contains a separator. Registering again gives the same name. Source: WDK.
    """
    state = pnp(nt)
    node = pnp_node(nt, PhysicalDeviceObject)
    path = pip_instance_path(nt, node) if node else ""
    reference = read_unicode(nt.mmu, ReferenceString) if ReferenceString else ""
    if not path or "\\" in reference or "/" in reference:
        return ntstatus.STATUS_INVALID_DEVICE_REQUEST
    guid = read_guid(nt, InterfaceClassGuid)
    base = f"\\??\\{path.replace(chr(92), '#')}#{guid}"
    link = f"{base}\\{reference}" if reference else base
    interface = state.interfaces.get(link.lower())
    if interface is None:
        interface = Interface(guid, link, base, int(PhysicalDeviceObject))
        state.interfaces[link.lower()] = interface
    interface.pdo = int(PhysicalDeviceObject)
    key = pnp_interface_key(interface)
    nt.cm.set(key, "SymbolicLink", "\\\\?" + link[3:])
    nt.cm.set(key.rpartition("\\")[0], "DeviceInstance", path)
    buffer = make_unicode(nt, link, paged=True)
    set_unicode(SymbolicLinkName, buffer, 2 * len(link))
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def IoSetDeviceInterfaceState(
    nt: Kernel, SymbolicLinkName: PUNICODE_STRING, Enable: BOOLEAN
) -> NTSTATUS:
    """Make the link, or take it away, and notify.

    A name that is no interface's (prefix, device, class in braces) is STATUS_INVALID_PARAMETER.
    An interface that is enabled already gives STATUS_OBJECT_NAME_EXISTS, one that is not
    STATUS_OBJECT_NAME_NOT_FOUND. Before the device is started enabling is remembered. Source: WDK;
    ReactOS kmtests IoDeviceInterface.c.
    """
    name = read_unicode(nt.mmu, SymbolicLinkName) if SymbolicLinkName else ""
    if not LINK.match(name):
        return ntstatus.STATUS_INVALID_PARAMETER
    interface = pnp(nt).interfaces.get("\\??" + name[3:].lower())
    if interface is None:
        return ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
    if Enable:
        if interface.enabled or interface.wanted:
            return ntstatus.STATUS_OBJECT_NAME_EXISTS
        node = nt.pnp.nodes.get(interface.pdo)
        if node is None:
            return ntstatus.STATUS_INVALID_DEVICE_REQUEST
        if node._v.State != STARTED:
            interface.wanted = True
            return ntstatus.STATUS_SUCCESS
        return pnp_enable(nt, interface)
    if interface.wanted:
        interface.wanted = False
        return ntstatus.STATUS_SUCCESS
    if not interface.enabled:
        return ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
    pnp_disable(nt, interface)
    return ntstatus.STATUS_SUCCESS


def pnp_enable(nt: Kernel, interface: Interface) -> int:
    """The symbolic link to the PDO; a PDO without a name cannot have one."""
    target = nt.ob.full_name(interface.pdo)
    interface.wanted = False
    if not target:
        return ntstatus.STATUS_INVALID_DEVICE_REQUEST
    shared = any(
        other.enabled and other.base == interface.base for other in nt.pnp.interfaces.values()
    )
    if not shared:
        status = ob_create_link(nt, interface.base, target)
        if status:
            return status
    interface.enabled = True
    nt.cm.set(f"{pnp_interface_key(interface)}\\Control", "Linked", 1)
    pnp_notify_interface(nt, interface.guid, interface.link, True)
    return ntstatus.STATUS_SUCCESS


def pnp_disable(nt: Kernel, interface: Interface) -> None:
    """Nobody can open the device by this name any more."""
    interface.enabled = False
    left = any(
        other.enabled and other.base == interface.base for other in nt.pnp.interfaces.values()
    )
    if not left:
        found = ob_lookup(nt, interface.base, follow_last=False)
        if not found.status:
            nt.ob.dereference(found.body)
    nt.cm.set(f"{pnp_interface_key(interface)}\\Control", "Linked", 0)
    pnp_notify_interface(nt, interface.guid, interface.link, False)


def _interfaces_of(nt: Kernel, node: Any) -> list[Interface]:
    pdo = int(node.PhysicalDeviceObject)
    return [each for each in nt.pnp.interfaces.values() if each.pdo == pdo]


def pnp_started(nt: Kernel, node: Any) -> None:
    """A device is started: what was enabled before takes effect."""
    for interface in _interfaces_of(nt, node):
        if interface.wanted:
            pnp_enable(nt, interface)


def pnp_disable_interfaces(nt: Kernel, node: Any) -> None:
    """A device goes: so do its interfaces, if its driver has not disabled them."""
    for interface in _interfaces_of(nt, node):
        interface.wanted = False
        if interface.enabled:
            pnp_disable(nt, interface)


@export(irql="== PASSIVE")
def IoGetDeviceInterfaces(
    nt: Kernel,
    InterfaceClassGuid: PGUID,
    PhysicalDeviceObject: PDEVICE_OBJECT,
    Flags: ULONG,
    SymbolicLinkList: Out[PVOID],
) -> NTSTATUS:
    """The names of a class's enabled interfaces, each terminated, a list that ExFreePool frees.

    DEVICE_INTERFACE_INCLUDE_NONACTIVE adds those not enabled; a PDO restricts the list to its own.
    Source: WDK IoGetDeviceInterfaces.
    """
    guid, wanted = read_guid(nt, InterfaceClassGuid), int(PhysicalDeviceObject)
    every = Flags & c.DEVICE_INTERFACE_INCLUDE_NONACTIVE
    text = "".join(
        each.link + "\0"
        for each in pnp(nt).interfaces.values()
        if each.guid == guid and wanted in (0, each.pdo) and (each.enabled or every)
    )
    data = (text + "\0").encode("utf-16-le")
    address = nt.ex.pool.allocate(len(data), "PpIf", paged=True)
    if not address:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    nt.mmu.write(address, data)
    SymbolicLinkList[0] = address
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def IoOpenDeviceInterfaceRegistryKey(
    nt: Kernel,
    SymbolicLinkName: PUNICODE_STRING,
    DesiredAccess: ACCESS_MASK,
    DeviceInterfaceRegKey: Out[HANDLE],
) -> NTSTATUS:
    """A handle to the interface's own Device Parameters key. Source: WDK."""
    interface = pnp(nt).interfaces.get(read_unicode(nt.mmu, SymbolicLinkName).lower())
    if interface is None:
        return ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
    key = nt.cm.create(f"{pnp_interface_key(interface)}\\Device Parameters")
    return cm_open(nt, key, DesiredAccess, c.OBJ_KERNEL_HANDLE, DeviceInterfaceRegKey)
