"""Sending IRPs down and completing them upwards.

IofCallDriver counts CurrentLocation down before anything else: at zero the stack locations are used
up, 0x35. IofCompleteRequest of an IRP whose location is past the top is 0x44; of one that still has
a cancel routine 0x48. Source: WDK IoCallDriver, IoCompleteRequest; Wine ntoskrnl tests
test_completion; ReactOS iomgr irp.c for the conditions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import bugcodes, ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.io import DRIVER_OBJECT
from ntsim.abi.scalars import CCHAR, NTSTATUS
from ntsim.nt.events import IrpCompleted, IrpSent
from ntsim.nt.exports import export
from ntsim.nt.io.finish import iop_finish
from ntsim.nt.io.irp import IO_TYPE_IRP, LOCATION, MAJOR_NAMES

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT, PIRP
    from ntsim.nt.kernel import Kernel

STATUS_MORE_PROCESSING_REQUIRED = ntstatus.STATUS_MORE_PROCESSING_REQUIRED
_MAJOR_FUNCTION = DRIVER_OBJECT.offset_of("MajorFunction")
_ERROR, _CANCEL, _SUCCESS = c.SL_INVOKE_ON_ERROR, c.SL_INVOKE_ON_CANCEL, c.SL_INVOKE_ON_SUCCESS
_PENDING = c.SL_PENDING_RETURNED
DUMPED_LINE = 0x1232
"""Parameter 2 of 0x44 in a real dump; the documentation calls it reserved."""


@export(irql="<= DISPATCH", aliases=("IoCallDriver",))
def IofCallDriver(nt: Kernel, DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    """Make the next location current and call the dispatch routine of DeviceObject's driver."""
    v = Irp._v
    v.CurrentLocation = location = v.CurrentLocation - 1
    if location <= 0 or location > 127:
        nt.bugcheck(bugcodes.NO_MORE_IRP_STACK_LOCATIONS, int(Irp), 0, 0, 0)
    v.Tail_Overlay_CurrentStackLocation = address = v.Tail_Overlay_CurrentStackLocation - LOCATION
    stack = nt.io.locations[address]
    stack.DeviceObject = DeviceObject
    major = stack.MajorFunction
    driver = DeviceObject._v.DriverObject
    routine = nt.mmu.read_word(driver + _MAJOR_FUNCTION + 8 * major)
    if nt.recorder.enabled:
        name = MAJOR_NAMES.get(major) or str(major)
        nt.emit(IrpSent, int(Irp), name, nt.io.driver_name(driver))
    else:
        nt.il.progress += 1
    if nt.verifier is not None:
        status: int = nt.verifier.io.dispatch(routine, DeviceObject, Irp, major)
        return status
    return nt.host.call(routine, (DeviceObject, Irp)) & 0xFFFF_FFFF


@export(irql="<= DISPATCH", aliases=("IoCompleteRequest",))
def IofCompleteRequest(nt: Kernel, Irp: PIRP, PriorityBoost: CCHAR) -> None:
    """The IRP is done here: run completion routines upwards, then finish it for its sender."""
    v = Irp._v
    if v.Type != IO_TYPE_IRP or v.CurrentLocation > v.StackCount + 1:
        code = bugcodes.MULTIPLE_IRP_COMPLETE_REQUESTS
        nt.bugcheck(code, int(Irp), DUMPED_LINE, 0, 0)
    if v.CancelRoutine:
        nt.bugcheck(bugcodes.CANCEL_STATE_IN_COMPLETED_IRP, int(Irp), v.CancelRoutine, 0, 0)
    if nt.recorder.enabled:
        nt.emit_at(IrpCompleted, int(Irp), v.IoStatus_Status, v.IoStatus_Information)
    else:
        nt.il.progress += 1
    if nt.verifier is not None and nt.verifier.io.puts_off(Irp, PriorityBoost):
        return
    if iop_unwind(nt, Irp):
        iop_finish(nt, Irp, PriorityBoost)


def iop_unwind(nt: Kernel, irp: Any) -> bool:
    """Walk up the stack locations; False if a completion routine wants the IRP back."""
    v = irp._v
    locations = nt.io.locations
    location = v.CurrentLocation
    address = v.Tail_Overlay_CurrentStackLocation
    top = v.StackCount
    while location <= top:
        stack = locations[address]
        control = stack.Control
        v.PendingReturned = control & _PENDING
        location += 1
        address += LOCATION
        v.CurrentLocation = location
        v.Tail_Overlay_CurrentStackLocation = address
        if control & 0xE0 and iop_wants(v, control):
            device = 0
            if location <= top:
                device = locations[address].DeviceObject
            routine, context = stack.CompletionRoutine, stack.Context
            stack.Control = stack.CompletionRoutine = stack.Context = 0
            call = nt.call if nt.verifier is None else nt.verifier.io.completion
            status = call(routine, nt.io.devices[device], irp, context)
            if status & 0xFFFF_FFFF == STATUS_MORE_PROCESSING_REQUIRED:
                return False
        elif v.PendingReturned and location <= top:
            locations[address].Control |= _PENDING
    return True


def iop_wants(v: Any, control: int) -> bool:
    """Whether a location's invoke flags match how the IRP ends."""
    if v.Cancel and control & _CANCEL:
        return True
    failed = v.IoStatus_Status >> 31 == 1
    return bool(control & (_ERROR if failed else _SUCCESS))
