"""WMI registration: the system asks a registering device which blocks it has.

The answer to IRP_MN_REGINFO_EX (IRP_MN_REGINFO if that is not known) is logged; nobody queries the
blocks afterwards. Source: WDK IoWMIRegistrationControl, IRP_MN_REGINFO_EX, IoWMIWriteEvent.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.scalars import NTSTATUS, PVOID, ULONG
from ntsim.nt.events import WmiEventWritten, WmiRegistered
from ntsim.nt.ex.allocate import ExFreePool
from ntsim.nt.exports import Out, export
from ntsim.nt.pnp.guids import read_guid
from ntsim.nt.pnp.irp import iop_synchronous_call
from ntsim.nt.pnp.state import pnp

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT
    from ntsim.nt.kernel import Kernel

REGISTER, DEREGISTER, REREGISTER, UPDATE_GUIDS, BLOCK_IRPS = range(1, 6)
"""WMIREG_ACTION_*."""

CALLBACK = 0x8000_0000
"""WMIREG_FLAG_CALLBACK: DeviceObject is a routine."""

ROOM = 0x800
_GUID_COUNT = 0x10
_WNODE_GUID, _WNODE_SIZE = 0x18, 0x30


@export(irql="== PASSIVE")
def IoWMIRegistrationControl(nt: Kernel, DeviceObject: PDEVICE_OBJECT, Action: ULONG) -> NTSTATUS:
    """Register or deregister a device as a WMI data provider.

    STATUS_INVALID_PARAMETER for an unknown action, or one that does not fit: registering twice,
    deregistering what is not registered. Source: WDK IoWMIRegistrationControl.
    """
    device, action = int(DeviceObject), Action & ~CALLBACK & 0xFFFF
    known = device in nt.wmi_providers
    if action == REGISTER and not known:
        nt.wmi_providers[device] = len(nt.wmi_providers) + 1
        if not Action & CALLBACK:
            nt.ob.reference(device)
            pnp(nt).queue(partial(wmi_ask, nt, DeviceObject))
        return ntstatus.STATUS_SUCCESS
    if action == DEREGISTER and known:
        del nt.wmi_providers[device]
        if not Action & CALLBACK:
            nt.ob.dereference(device)
        return ntstatus.STATUS_SUCCESS
    if action in (REREGISTER, UPDATE_GUIDS) and known:
        if not Action & CALLBACK:
            pnp(nt).queue(partial(wmi_ask, nt, DeviceObject))
        return ntstatus.STATUS_SUCCESS
    blocked = action == BLOCK_IRPS and known
    return ntstatus.STATUS_SUCCESS if blocked else ntstatus.STATUS_INVALID_PARAMETER


def wmi_ask(nt: Kernel, device: Any) -> None:
    """Send the registration IRP, in a system thread."""
    if int(device) not in nt.wmi_providers:
        return
    buffer = nt.allocate_pool(ROOM, "Wmip")
    for minor in (c.IRP_MN_REGINFO_EX, c.IRP_MN_REGINFO):
        nt.mmu.write(buffer, bytes(ROOM))
        status, _ = iop_synchronous_call(
            nt, device, minor, (int(device), 0, ROOM, buffer), major=c.IRP_MJ_SYSTEM_CONTROL
        )
        if ntstatus.NT_SUCCESS(status):
            count = int.from_bytes(nt.mmu.read(buffer + _GUID_COUNT, 4), "little")
            nt.emit(WmiRegistered, int(device), count)
            break
    nt.free_pool(buffer)


@export(irql="<= DISPATCH")
def IoWMIWriteEvent(nt: Kernel, WnodeEventItem: PVOID) -> NTSTATUS:
    """Deliver an event, whose nonpaged pool the system frees. Source: WDK IoWMIWriteEvent."""
    size = int.from_bytes(nt.mmu.read(int(WnodeEventItem), 4), "little")
    if size < _WNODE_SIZE:
        return ntstatus.STATUS_INVALID_BUFFER_SIZE
    nt.emit_at(WmiEventWritten, read_guid(nt, int(WnodeEventItem) + _WNODE_GUID), size)
    ExFreePool(nt, WnodeEventItem)
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def IoWMIAllocateInstanceIds(
    nt: Kernel, Guid: PVOID, InstanceCount: ULONG, FirstInstanceId: Out[ULONG]
) -> NTSTATUS:
    """IDs for instances of a block, unique to its GUID. Source: WDK."""
    guid = read_guid(nt, Guid)
    FirstInstanceId[0] = first = nt.wmi_instances.get(guid, 0)
    nt.wmi_instances[guid] = first + InstanceCount
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def IoWMIOpenBlock(
    nt: Kernel, Guid: PVOID, DesiredAccess: ULONG, DataBlockObject: Out[PVOID]
) -> NTSTATUS:
    """STATUS_WMI_GUID_NOT_FOUND: no provider's blocks can be opened, neither those of drivers nor
    the firmware's, of which this machine has none. Source: WDK IoWMIOpenBlock.
    """
    DataBlockObject[0] = 0
    return ntstatus.STATUS_WMI_GUID_NOT_FOUND


@export(irql="<= DISPATCH")
def IoWMIDeviceObjectToProviderId(nt: Kernel, DeviceObject: PDEVICE_OBJECT) -> ULONG:
    """The ID of a registered device, 0 for another. Source: WDK."""
    return int(nt.wmi_providers.get(int(DeviceObject), 0))
