"""Requests that nobody has completed: who has them, since when, and who could still end them."""

from __future__ import annotations

from collections.abc import Sequence

from ntsim.abi import wdm_constants as c
from ntsim.abi.io import IO_STACK_LOCATION, IRP
from ntsim.nt.events import Event, IrpSent
from ntsim.nt.io.csq import iop_csq_cancel_routine
from ntsim.nt.io.irp import MAJOR_NAMES
from ntsim.nt.kernel import Kernel


def request_text(nt: Kernel, irp: IRP, events: Sequence[Event]) -> str:
    """Where an IRP is: with the driver of its current stack location, or completed."""
    v = irp._v
    if v.CurrentLocation > v.StackCount:
        return f"IRP {int(irp):#x} is completed"
    location = IO_STACK_LOCATION.at(nt.mmu, v.Tail_Overlay_CurrentStackLocation)
    major = MAJOR_NAMES.get(location.MajorFunction, str(location.MajorFunction))
    driver = location.DeviceObject.DriverObject
    routine = nt.describe_address(driver.MajorFunction[location.MajorFunction])
    whom = f"{nt.io.driver_name(driver)}, given to {routine}{_when(irp, events)}"
    text = f"IRP {int(irp):#x} ({major}) is with {whom}"
    state = [*_place(irp, location), _cancelling(nt, irp)]
    return f"{text}: {', '.join(state)}"


def _when(irp: IRP, events: Sequence[Event]) -> str:
    """When it was last sent to a driver."""
    sent = [e for e in events if isinstance(e, IrpSent) and e.irp == int(irp)]
    if not sent:
        return ""
    time = sent[-1].time
    return f" at {time // 10}.{time % 10} us"


def _place(irp: IRP, location: IO_STACK_LOCATION) -> list[str]:
    """Whether the dispatch routine is through with it, and which queue of the kernel's it is in."""
    if not location.Control & c.SL_PENDING_RETURNED:
        return ["not marked pending"]
    device = location.DeviceObject
    if irp.Tail.Overlay.DeviceQueueEntry.Inserted:
        return ["pending", f"in the device queue of {int(device):#x}"]
    if int(device.CurrentIrp) == int(irp):
        return ["pending", f"the current IRP of device {int(device):#x}"]
    return ["pending"]


def _cancelling(nt: Kernel, irp: IRP) -> str:
    """Who would complete it if it were cancelled."""
    v = irp._v
    routine = v.CancelRoutine
    if routine and routine == nt.internal_address(iop_csq_cancel_routine):
        return "in a cancel-safe queue"
    if routine:
        return f"cancel routine {nt.describe_address(routine)}"
    if v.Cancel:
        return "cancelled, but it is not completed"
    return "no cancel routine: not even the end of its thread completes it"
