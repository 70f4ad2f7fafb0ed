"""I/O verification of IRPs on their way through a stack of drivers.

An IRP that a driver below keeps (it returned STATUS_PENDING) is not the sender's until it comes
back: 0x205, 0x209, 0x229. PnP, power and WMI IRPs visit each device of the stack (0x211), each
driver has a routine for them (0x21F), those with a minor code that a driver does not know go down
as they came (0x213, 0x214, 0x22D, 0x230), and the ones that a driver answers are answered rightly.
Windows sends such unknown IRPs of its own; the model does not. Source: WDK Bug Check 0xC9, "I/O
Verification", the IRP_MN_* pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.io import DRIVER_OBJECT
from ntsim.abi.irql import level_name
from ntsim.abi.pnp import DEVICE_RELATIONS
from ntsim.nt.io.irp import IO_TYPE_IRP, MAJOR_NAMES, io_current_location, io_next_location
from ntsim.nt.ke.irql import APC_LEVEL
from ntsim.nt.vf.hooks import before
from ntsim.nt.vf.pnp import INITIAL, SYSTEM_ONLY, vi_complete_pnp, vi_extension

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.mm.images import Image
    from ntsim.nt.vf.verifier import Verifier

LAST_MINOR = {c.IRP_MJ_PNP: c.IRP_MN_DEVICE_ENUMERATED, c.IRP_MJ_POWER: c.IRP_MN_QUERY_POWER}
"""The highest minor function that is defined."""

COMPLETED_UNKNOWN = {c.IRP_MJ_PNP: 0x22D, c.IRP_MJ_POWER: 0x230}
MAY_NOT_FAIL = frozenset(
    (
        c.IRP_MN_STOP_DEVICE, c.IRP_MN_CANCEL_STOP_DEVICE, c.IRP_MN_CANCEL_REMOVE_DEVICE,
        c.IRP_MN_SURPRISE_REMOVAL,
    )
)  # fmt: skip
"""Besides IRP_MN_REMOVE_DEVICE, which has 0x306."""

REQUIRED_OF_BUS = MAY_NOT_FAIL | {
    c.IRP_MN_START_DEVICE, c.IRP_MN_QUERY_STOP_DEVICE, c.IRP_MN_QUERY_REMOVE_DEVICE,
    c.IRP_MN_REMOVE_DEVICE, c.IRP_MN_QUERY_CAPABILITIES,
}  # fmt: skip
"""What the driver of a PDO must handle."""

NEEDS_PDO = (
    "IoGetDeviceProperty IoOpenDeviceRegistryKey IoRegisterDeviceInterface "
    "IoInvalidateDeviceRelations IoRequestDeviceEject IoReportTargetDeviceChange"
)
OWN_APC = c.IRP_PAGING_IO | c.IRP_CLOSE_OPERATION
"""Flags of IRPs that complete without an APC."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An IRP whose dispatch routine returned STATUS_PENDING: its stack location, whose it is."""

    location: int
    image: Image | None


def vi_kept_below(vf: Verifier, irp: Any) -> Kept | None:
    """Who keeps an IRP, if that is another driver than the one that is executing."""
    kept = vf.io.kept.get(int(irp))
    if kept is None:
        return None
    if kept.location != irp._v.CurrentLocation or kept.image is vf.nt.thread.images[-1]:
        del vf.io.kept[int(irp)]  # it has come back, or its keeper goes on with it
        return None
    return kept


def vi_if_kept(vf: Verifier, irp: Any, kind: int, what: str) -> None:
    kept = vi_kept_below(vf, irp)
    if kept is not None:
        name = kept.image.file_name if kept.image is not None else "a driver"
        why = f"An IRP was {what} that {name} below returned STATUS_PENDING for and has not "
        vf.io.violation(kind, vf.driver_address(), int(irp), why=f"{why}completed.")


@before("io", "IofCallDriver PoCallDriver")
def vi_forward(vf: Verifier, nt: Kernel, DeviceObject: Any, Irp: Any) -> None:
    """0x205; 0x302: its completion needs an APC; 0x211, 0x213, 0x214."""
    v = Irp._v
    if v.Type != IO_TYPE_IRP:
        return
    if vf.io.kept:
        vi_if_kept(vf, Irp, 0x205, "forwarded")
    if v.CurrentLocation <= 1:
        return
    flights = vf.io.flights.get(int(Irp))
    if not flights:
        vi_completion_apc(vf, Irp)
        return
    stack = io_next_location(nt, Irp)._v
    if stack.MajorFunction in INITIAL:
        vi_past_a_device(vf, nt, flights[-1].device, DeviceObject, Irp)
        vi_unknown_touched(vf, stack, Irp, flights[-1])


def vi_completion_apc(vf: Verifier, irp: Any) -> None:
    """0x302: an IRP of this thread is sent at APC_LEVEL or above: it would never complete."""
    v = irp._v
    threaded = v.ThreadListEntry_Flink != int(irp.ThreadListEntry)
    if vf.irql >= APC_LEVEL and threaded and v.CurrentLocation == v.StackCount + 1:
        if v.Flags & OWN_APC:
            return
        why = f"An IRP of the current thread was sent at {level_name(vf.irql)}, where the APC that "
        where = vf.driver_address()
        vf.io.violation(0x302, where, int(irp), vf.irql, why=why + "completes it cannot run.")


def vi_past_a_device(vf: Verifier, nt: Kernel, mine: int, target: Any, irp: Any) -> None:
    """0x211: the device right below did not see the IRP."""
    below = vi_extension(nt, mine).AttachedTo
    if not below or below == int(target):
        return
    further = vi_extension(nt, below).AttachedTo
    while further and further != int(target):
        further = vi_extension(nt, further).AttachedTo
    if further:
        why = f"An IRP was forwarded to the device {int(target):#x}, past {below:#x}, to which "
        why += f"{mine:#x} is attached."
        vf.io.violation(0x211, vf.driver_address(), int(irp), why=why)


def vi_is_unknown(stack: Any) -> bool:
    last = LAST_MINOR.get(stack.MajorFunction)
    return last is not None and stack.MinorFunction > last


def vi_unknown_touched(vf: Verifier, stack: Any, irp: Any, flight: Any) -> None:
    """0x213, 0x214: status or Information of an IRP that nobody can know."""
    if not vi_is_unknown(stack):
        return
    v, where = irp._v, vf.driver_address()
    name = f"{MAJOR_NAMES[stack.MajorFunction]} with the minor code {stack.MinorFunction:#x}"
    if v.IoStatus_Status != flight.started:
        why = f"{name} was passed down with {ntstatus.status_name(v.IoStatus_Status)}, it came "
        why += f"with {ntstatus.status_name(flight.started)}."
        vf.io.violation(0x213, where, int(irp), why=why)
    if v.IoStatus_Information != flight.information:
        why = f"{name} was passed down with another Information than it came with."
        vf.io.violation(0x214, where, int(irp), why=why)


def vi_no_routine(vf: Verifier, nt: Kernel, device: Any, irp: Any, major: int) -> None:
    """0x21F: a driver in the stack has no routine for IRPs that it at least passes down."""
    if major not in INITIAL or not vi_extension(nt, int(device)).AttachedTo:
        return
    driver = DRIVER_OBJECT.at(nt.mmu, device._v.DriverObject)
    if not vf.verifies(nt.images.at(driver._v.DriverInit)):
        return
    why = f"{nt.io.driver_name(int(driver))} is attached to a device and has no dispatch routine "
    why += f"for {MAJOR_NAMES[major]}."
    vf.io.violation(0x21F, driver._v.DriverInit, int(irp), why=why)


@before("io", "IoSetCancelRoutine")
def vi_cancel_routine(vf: Verifier, nt: Kernel, Irp: Any, CancelRoutine: int) -> None:
    """0x229: a driver below may have set its own."""
    if CancelRoutine and vf.io.kept:
        vi_if_kept(vf, Irp, 0x229, "given a cancel routine")


@before("io", NEEDS_PDO)
def vi_needs_pdo(vf: Verifier, nt: Kernel, DeviceObject: Any, *rest: Any) -> None:
    if nt.pnp is None or int(DeviceObject) not in nt.pnp.nodes:
        why = f"{vf.routine} was given {int(DeviceObject):#x}, which is no device's PDO."
        vf.io.violation(0x24D, vf.driver_address(), 0, int(DeviceObject), why=why)


@before("io", "IofCompleteRequest", first=True)
def vi_complete_in_stack(vf: Verifier, nt: Kernel, Irp: Any, Boost: int) -> None:
    """0x209; what a driver answers to PnP, power and WMI IRPs that it did not pass down."""
    v = Irp._v
    if v.Type != IO_TYPE_IRP or v.CurrentLocation > v.StackCount:
        return
    if vf.io.kept:
        vi_if_kept(vf, Irp, 0x209, "completed")
    flights = vf.io.flights.get(int(Irp))
    if not flights or flights[-1].forwarded:
        return
    stack = io_current_location(nt, Irp)._v
    if stack.MajorFunction not in INITIAL or not stack.DeviceObject:
        return
    where = vf.driver_address()
    attached = bool(vi_extension(nt, stack.DeviceObject).AttachedTo)
    if attached:
        vi_answer_of_others(vf, stack, Irp, where)
    if stack.MajorFunction == c.IRP_MJ_PNP:
        vi_answer_to_pnp(vf, nt, stack, Irp, where, attached)
    vi_complete_pnp(vf, nt, stack, Irp)


def vi_answer_of_others(vf: Verifier, stack: Any, irp: Any, where: int) -> None:
    """0x22D, 0x230: unknown IRPs go down; 0x220: WMI IRPs of another provider, too."""
    major = stack.MajorFunction
    if vi_is_unknown(stack):
        why = f"{MAJOR_NAMES[major]} with the minor code {stack.MinorFunction:#x} was completed, "
        why += "which no driver knows: it is passed down."
        vf.io.violation(COMPLETED_UNKNOWN[major], where, int(irp), why=why)
    provider = stack.Parameters_WMI_ProviderId
    if major == c.IRP_MJ_SYSTEM_CONTROL and provider != stack.DeviceObject:
        why = f"IRP_MJ_SYSTEM_CONTROL for the provider {provider:#x} was completed by the driver "
        why += f"of {stack.DeviceObject:#x}."
        vf.io.violation(0x220, where, int(irp), provider, why=why)


def vi_answer_to_pnp(
    vf: Verifier, nt: Kernel, stack: Any, irp: Any, where: int, attached: bool
) -> None:
    """0x247, 0x22A, and the relations that an answer names."""
    minor, status = stack.MinorFunction, irp._v.IoStatus_Status
    untouched = status == ntstatus.STATUS_NOT_SUPPORTED
    name = SYSTEM_ONLY.get(minor, f"minor function {minor:#x}")
    if minor in MAY_NOT_FAIL and status >> 30 == 3 and not untouched:
        why = f"{name} was failed, {ntstatus.status_name(status)}: it may not fail."
        vf.io.violation(0x247, why=why)
    pdo = not attached and nt.pnp is not None and stack.DeviceObject in nt.pnp.nodes
    if pdo and untouched and minor in REQUIRED_OF_BUS:
        why = f"The driver of the PDO {stack.DeviceObject:#x} did not handle {name}."
        vf.io.violation(0x22A, where, int(irp), why=why)
    if minor == c.IRP_MN_QUERY_DEVICE_RELATIONS and status >> 30 != 3:
        vi_relations(vf, nt, stack, irp, where, attached)


def vi_relations(
    vf: Verifier, nt: Kernel, stack: Any, irp: Any, where: int, attached: bool
) -> None:
    """0x22B, 0x24B: TargetDeviceRelation is answered with the PDO; 0x248: children are PDOs."""
    kind, found = stack.Parameters_QueryDeviceRelations_Type, irp._v.IoStatus_Information
    if kind == c.TargetDeviceRelation and not found:
        what = "TargetDeviceRelation was answered with success and no relations"
        if attached:
            why = f"{what} instead of being passed down."
            vf.io.violation(0x24B, where, stack.DeviceObject, why=why)
        vf.io.violation(0x22B, where, int(irp), why=f"{what} by the driver of the PDO.")
    if kind == c.BusRelations and found:
        relations = DEVICE_RELATIONS.at(nt.mmu, found)
        for index in range(relations.Count):
            child = int(relations.Objects[index])
            if vi_extension(nt, child).AttachedTo:
                why = f"BusRelations name {child:#x}, which is attached to another device and no "
                vf.io.violation(0x248, where, int(irp), child, why=f"{why}PDO.")


