"""I/O verification of Plug and Play and of what is sent on: who may send what, and in which state.

Sub-codes of 0xC9 from 0x200 on: parameter 2 is where the driver is executing (or the routine that
has returned), 3 the IRP. Source: WDK Bug Check 0xC9, "I/O Verification", the IRP_MN_* pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.io import DEVICE_OBJECT, DEVOBJ_EXTENSION
from ntsim.abi.irql import level_name
from ntsim.abi.pnp import DEVICE_CAPABILITIES
from ntsim.nt.io.device import DELETE_PENDING
from ntsim.nt.io.irp import IO_TYPE_IRP, MAJOR_NAMES, io_current_location, io_next_location
from ntsim.nt.ke.irql import PASSIVE_LEVEL
from ntsim.nt.vf.hooks import before

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier

SYSTEM_ONLY = {
    getattr(c, name): name
    for name in (
        "IRP_MN_START_DEVICE IRP_MN_QUERY_STOP_DEVICE IRP_MN_STOP_DEVICE IRP_MN_CANCEL_STOP_DEVICE "
        "IRP_MN_QUERY_REMOVE_DEVICE IRP_MN_REMOVE_DEVICE IRP_MN_CANCEL_REMOVE_DEVICE "
        "IRP_MN_SURPRISE_REMOVAL IRP_MN_QUERY_RESOURCES IRP_MN_QUERY_RESOURCE_REQUIREMENTS "
        "IRP_MN_FILTER_RESOURCE_REQUIREMENTS IRP_MN_QUERY_PNP_DEVICE_STATE"
    ).split()
}
"""PnP IRPs that are "reserved for system use"."""

INITIAL = {
    c.IRP_MJ_PNP: (0x20E, 0x215),
    c.IRP_MJ_POWER: (0x20F, 0x219),
    c.IRP_MJ_SYSTEM_CONTROL: (0x210, 0),
}
"""Major function: sub-codes for a wrong first status, and for a failed IRP that is passed on."""


AT_PASSIVE = frozenset(
    (c.IRP_MJ_CREATE, c.IRP_MJ_CLEANUP, c.IRP_MJ_CLOSE, c.IRP_MJ_PNP, c.IRP_MJ_SYSTEM_CONTROL)
)
EXTENSION = DEVICE_OBJECT.offset_of("DeviceObjectExtension")
UNINITIALIZED = 0xFFFF_FFFF
CAPABILITIES_VERSION = 1
TRANSFER = c.DO_BUFFERED_IO | c.DO_DIRECT_IO
NOT_SUPPORTED = {c.IRP_MJ_PNP: 0x216, c.IRP_MJ_POWER: 0x21A}
"""Major function: the sub-code for a status that becomes STATUS_NOT_SUPPORTED on the way."""


@before("io", "IofCallDriver PoCallDriver")
def vi_send(vf: Verifier, nt: Kernel, DeviceObject: Any, Irp: Any) -> None:
    """The level; what only the system sends; the stack location as the driver leaves it."""
    v = Irp._v
    if v.Type != IO_TYPE_IRP or v.CurrentLocation <= 1:
        return  # 0x3 or 0x208 follows
    next_one = io_next_location(nt, Irp)._v
    major = next_one.MajorFunction
    if major in AT_PASSIVE and vf.irql > PASSIVE_LEVEL:
        why = f"{MAJOR_NAMES[major]} was sent at {level_name(vf.irql)}: PASSIVE_LEVEL only."
        vf.io.violation(0x23A, vf.driver_address(), int(Irp), why=why)
    flights = vf.io.flights.get(int(Irp))
    if major in INITIAL:
        vi_initial_status(vf, Irp, major)
    if flights:
        vi_pass_on(vf, Irp, major, next_one, flights[-1].started)
    elif major == c.IRP_MJ_PNP:
        vi_originate_pnp(vf, nt, Irp, next_one.MinorFunction)


def vi_initial_status(vf: Verifier, irp: Any, major: int) -> None:
    """0x20E to 0x210: PnP, power and WMI IRPs start as STATUS_NOT_SUPPORTED; 0x215, 0x219: one
    that has failed is completed, not passed down."""
    name, (started, passed_on) = MAJOR_NAMES[major], INITIAL[major]
    status = irp._v.IoStatus_Status
    if int(irp) not in vf.io.flights:
        if status != ntstatus.STATUS_NOT_SUPPORTED:
            why = f"{name} was sent with {ntstatus.status_name(status)} in IoStatus.Status: it "
            why += "starts as STATUS_NOT_SUPPORTED."
            vf.io.violation(started, vf.driver_address(), int(irp), why=why)
    elif passed_on and status >> 30 == 3 and status != ntstatus.STATUS_NOT_SUPPORTED:
        why = f"{name} was passed down although it has failed, {ntstatus.status_name(status)}."
        vf.io.violation(passed_on, vf.driver_address(), int(irp), why=why)


def vi_pass_on(vf: Verifier, irp: Any, major: int, location: Any, started: int) -> None:
    """0x206, 0x207: a location copied by hand; 0x216, 0x21A: a status that is the system's."""
    nt, v = vf.nt, irp._v
    if location.Control & c.SL_PENDING_RETURNED:
        why = "An IRP was passed down with SL_PENDING_RETURNED in the next stack location: its "
        why += "Control was copied, or it was marked pending and skipped."
        vf.io.violation(0x206, vf.driver_address(), int(irp), why=why)
    if v.CurrentLocation <= v.StackCount and location.CompletionRoutine:
        mine = io_current_location(nt, irp)._v
        both = location.CompletionRoutine, location.Context
        if both == (mine.CompletionRoutine, mine.Context) and vi_is_foreign(vf, both[0]):
            name = nt.describe_address(location.CompletionRoutine)
            why = f"A stack location was copied by hand with the completion routine {name} of the "
            why += "driver above, which would run twice: IoCopyCurrentIrpStackLocationToNext."
            vf.io.violation(0x207, vf.driver_address(), int(irp), why=why)
    status = v.IoStatus_Status
    if major in NOT_SUPPORTED and status == ntstatus.STATUS_NOT_SUPPORTED != started:
        why = f"{MAJOR_NAMES[major]} came with {ntstatus.status_name(started)} and was passed down "
        why += "as STATUS_NOT_SUPPORTED, which says that no driver has looked at it."
        vf.io.violation(NOT_SUPPORTED[major], vf.driver_address(), int(irp), why=why)


def vi_is_foreign(vf: Verifier, routine: int) -> bool:
    """Whether a routine is another driver's than the one that is executing."""
    image = vf.nt.images.at(vf.driver_address())
    return image is None or routine not in image


def vi_originate_pnp(vf: Verifier, nt: Kernel, irp: Any, minor: int) -> None:
    """0x237: the system's own; 0x233 to 0x236: a DEVICE_CAPABILITIES that is not initialized."""
    where = vf.driver_address()
    if minor in SYSTEM_ONLY:
        why = f"A driver sent {SYSTEM_ONLY[minor]}, which only the PnP manager sends."
        vf.io.violation(0x237, where, int(irp), why=why)
    if minor != c.IRP_MN_QUERY_CAPABILITIES:
        return
    address = io_next_location(nt, irp)._v.Parameters_DeviceCapabilities_Capabilities
    asked = DEVICE_CAPABILITIES.at(nt.mmu, address)._v
    for kind, name, value, right in (
        (0x233, "Version", asked.Version, asked.Version == CAPABILITIES_VERSION),
        (0x234, "Size", asked.Size, asked.Size >= DEVICE_CAPABILITIES.size),
        (0x235, "Address", asked.Address, asked.Address == UNINITIALIZED),
        (0x236, "UINumber", asked.UINumber, asked.UINumber == UNINITIALIZED),
    ):
        if not right:
            why = "IRP_MN_QUERY_CAPABILITIES was sent with a DEVICE_CAPABILITIES that is not "
            why += f"initialized: {name} is {value:#x}."
            vf.io.violation(kind, where, int(irp), why=why)


def vi_complete_pnp(vf: Verifier, nt: Kernel, stack: Any, irp: Any) -> None:
    """0x306: IRP_MN_REMOVE_DEVICE must not fail; 0x22E, 0x22F, 0x231, 0x232: it goes to the PDO."""
    major = stack.MajorFunction
    if major not in NOT_SUPPORTED:
        return
    status, where = irp._v.IoStatus_Status, vf.driver_address()
    power = major == c.IRP_MJ_POWER
    untouched = status == ntstatus.STATUS_NOT_SUPPORTED
    if not power and stack.MinorFunction == c.IRP_MN_REMOVE_DEVICE and status >> 30 == 3:
        why = f"IRP_MN_REMOVE_DEVICE was completed with {ntstatus.status_name(status)}: it may not "
        vf.io.violation(0x306, where, int(irp), why=why + "fail.")
    if not vi_extension(nt, stack.DeviceObject).AttachedTo or stack.MinorFunction in ANSWERED:
        return
    name = MAJOR_NAMES[major]
    if untouched:
        kind, what = 0x232 if power else 0x22F, "that it does not handle"
    elif status >> 30 != 3:
        kind, what = 0x231 if power else 0x22E, "that has not failed"
    else:
        return
    why = f"A driver above the bus driver completed {name} {what}: it is passed down."
    vf.io.violation(kind, where, int(irp), why=why)


ANSWERED = frozenset((c.IRP_MN_QUERY_INTERFACE, c.IRP_MN_FILTER_RESOURCE_REQUIREMENTS))
"""Minor functions that a driver above the bus driver may answer alone."""


def vi_extension(nt: Kernel, device: int) -> Any:
    """The DEVOBJ_EXTENSION of the device at an address."""
    return DEVOBJ_EXTENSION.at(nt.mmu, nt.read_pointer(device + EXTENSION))._v


def vi_goes(nt: Kernel, device: Any, irp: Any, major: int) -> int:
    """IRP_MN_REMOVE_DEVICE or IRP_MN_SURPRISE_REMOVAL to a device that is attached, else 0."""
    if major != c.IRP_MJ_PNP or not vi_extension(nt, int(device)).AttachedTo:
        return 0
    minor: int = io_current_location(nt, irp)._v.MinorFunction
    return minor if minor in (c.IRP_MN_REMOVE_DEVICE, c.IRP_MN_SURPRISE_REMOVAL) else 0


def vi_check_gone(
    vf: Verifier, minor: int, routine: int, name: str, device: int, irp: int
) -> None:
    """0x21D, 0x21E: after a removal a function or filter device is gone; 0x241, 0x242: before, a
    surprise removal takes it neither from the stack nor away."""
    nt = vf.nt
    exists = nt.ob.is_object(device)
    attached = exists and bool(vi_extension(nt, device).AttachedTo)
    deleted = not exists or bool(vi_extension(nt, device).ExtensionFlags & DELETE_PENDING)
    what = f"{name} handled {SYSTEM_ONLY[minor]} and"
    if minor == c.IRP_MN_SURPRISE_REMOVAL:
        kind = 0x242 if deleted else 0x241
        if deleted or not attached:
            did = "deleted" if deleted else "detached"
            why = f"{what} {did} its device {device:#x}: IRP_MN_REMOVE_DEVICE is still to come."
            vf.io.violation(kind, routine, irp, device, why=why, device=device)
    elif attached:
        why = f"{what} left its device {device:#x} attached."
        vf.io.violation(0x21D, routine, irp, device, why=why, device=device)
    elif not deleted:
        why = f"{what} did not delete its device {device:#x}."
        vf.io.violation(0x21E, routine, irp, device, why=why, device=device)


def vi_added(vf: Verifier, driver: Any, routine: int, below: Any, pdo: Any) -> None:
    """What AddDevice left: 0x243, 0x23F, and for a filter 0x244 and 0x246.

    `below` was the top of the stack before.
    """
    nt = vf.nt
    above = below._v.AttachedDevice
    if not above:
        return
    added, under = DEVICE_OBJECT.at(nt.mmu, above)._v, below._v
    where = f"{driver.name}'s AddDevice left its device {above:#x} "
    if added.Flags & c.DO_DEVICE_INITIALIZING:
        why = f"{where}with DO_DEVICE_INITIALIZING: nobody can open it or attach to it."
        vf.io.violation(0x243, routine, 0, above, why=why, device=above)
    if under.Flags & c.DO_POWER_PAGABLE and not added.Flags & c.DO_POWER_PAGABLE:
        why = f"{where}without DO_POWER_PAGABLE, which the device below has."
        vf.io.violation(0x23F, routine, 0, above, why=why, device=above)
    if int(below) == int(pdo):
        return  # a function driver or lower filter may choose
    if added.Flags & TRANSFER != under.Flags & TRANSFER:
        why = f"{where}with other DO_BUFFERED_IO and DO_DIRECT_IO flags than the device below."
        vf.io.violation(0x244, routine, 0, above, why=why, device=above)
    if added.DeviceType != under.DeviceType:
        why = f"{where}with DeviceType {added.DeviceType:#x}; the device below has "
        vf.io.violation(0x246, routine, 0, above, why=f"{why}{under.DeviceType:#x}.", device=above)
