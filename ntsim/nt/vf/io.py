"""I/O verification: IRPs as drivers send, complete and free them, and what routines return.

Automatic for every verified driver: levels, interrupts and APC counts around dispatch and
completion routines. With `io`: everything about IRPs themselves; the sub-codes from 0x200 on are
those of enhanced I/O verification, which belongs to it since Windows 7. Source: WDK Bug Check 0xC9,
Bug Check 0xC4 (0xC0, 0xC1, 0xC5, 0xFA, 0xFB), "I/O Verification"; dumps for 0x226.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.irql import level_name
from ntsim.abi.ke import KEVENT
from ntsim.nt.io.device import iop_is_being_deleted
from ntsim.nt.io.irp import (
    IO_TYPE_IRP,
    LOCATION,
    MAJOR_NAMES,
    io_current_location,
)
from ntsim.nt.ke.irql import DISPATCH_LEVEL
from ntsim.nt.vf.deferred import complete_later
from ntsim.nt.vf.hooks import AUTOMATIC, after, before
from ntsim.nt.vf.invariant_mdl import DRIVER, STACK, vi_write_begins
from ntsim.nt.vf.notes import Moment, Note, Place
from ntsim.nt.vf.pnp import vi_added, vi_check_gone, vi_extension, vi_goes
from ntsim.nt.vf.rules import vi_rule
from ntsim.nt.vf.stack import Kept, vi_no_routine

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier

IO_TYPE_DEVICE = 3
PENDING = c.SL_PENDING_RETURNED
STATUS_PENDING, MORE = ntstatus.STATUS_PENDING, ntstatus.STATUS_MORE_PROCESSING_REQUIRED
UNINITIALIZED = 0xFFFF_FFFF
METHOD_BUFFERED = 0
BOTH_METHODS = c.DO_BUFFERED_IO | c.DO_DIRECT_IO
IRPS_PER_DEVICE = 20
IOMANAGER_VIOLATION = 0xC9


@dataclass(slots=True)
class Flight:
    """An IRP in a dispatch routine that has not returned: what the routine has done with it.

    `started` and `information` are the status block it came with.
    """

    location: int
    started: int
    information: int = 0
    device: int = 0
    completed: Place | None = None
    status: int = 0
    marked: bool = False
    forwarded: bool = False


class IoVerifier:
    """`flights` are the dispatch routines on their way, by IRP; `allocated` IRPs of drivers;
    `waiting` IRPs that force pending will complete later, with the stack location; `signalled` IRPs
    being sent with an event that is set, with the thread; `kept` IRPs are with a driver that
    returned STATUS_PENDING."""

    def __init__(self, vf: Verifier) -> None:
        self.vf, self.nt = vf, vf.nt
        self.flights: dict[int, list[Flight]] = {}
        self.allocated: dict[int, Moment] = {}
        self.log: dict[int, deque[str]] = {}
        self.waiting: dict[int, int] = {}
        self.signalled: dict[int, int] = {}
        self.kept: dict[int, Kept] = {}
        self.invariant = vf.on(STACK) or vf.on(DRIVER)
        self.enabled, self.logging = vf.on("io"), vf.on("irp-logging")

    def violation(
        self, one: int, two: int = 0, three: int = 0, four: int = 0, *, why: str, device: int = 0,
        notes: list[Note] | None = None,
    ) -> NoReturn:  # fmt: skip
        """Stop with 0xC9; the device's logged IRPs are part of the report."""
        notes = [*(notes or []), *(Note(text) for text in self.log.get(device, ()))]
        self.vf.violation(one, two, three, four, why=why, notes=notes, code=IOMANAGER_VIOLATION)

    def dispatch(self, routine: int, device: Any, irp: Any, major: int) -> int:
        """Call a dispatch routine and look at what it leaves behind; its status."""
        nt, vf = self.nt, self.vf
        if self.logging:
            self._log(device, irp, major)
        address = int(irp)
        above = self.flights.get(address)
        if above:
            above[-1].forwarded = True
        image = nt.images.at(routine)
        if not vf.verifies(image):
            if self.enabled and routine == nt.io.invalid_request:
                vi_no_routine(vf, nt, device, irp, major)
            return nt.host.call(routine, (device, irp)) & 0xFFFF_FFFF
        going = vi_goes(nt, device, irp, major) if self.enabled else 0
        v = irp._v
        flight = Flight(v.CurrentLocation, v.IoStatus_Status, v.IoStatus_Information, int(device))
        if self.invariant:
            vi_write_begins(vf, nt, irp, major, not above)
        self.flights.setdefault(address, []).append(flight)
        processor = nt.il.current
        level, counts = processor.cr8, _counts(nt)
        status = nt.host.call(routine, (device, irp)) & 0xFFFF_FFFF
        mine = self.flights[address]
        mine.remove(flight)
        if not mine:
            del self.flights[address]
        self._check_return(routine, level, counts)
        if self.enabled:
            if status == STATUS_PENDING and flight.completed is None and not flight.forwarded:
                self.kept[address] = Kept(flight.location, image)
            self._check_status(routine, device, irp, flight, status)
            if going and status != STATUS_PENDING:
                name = nt.describe_address(routine)
                vi_check_gone(vf, going, routine, name, int(device), int(irp))
        return status

    def _check_return(self, routine: int, level: int, counts: tuple[int, int]) -> None:
        nt, vf = self.nt, self.vf
        processor, now = nt.il.current, _counts(nt)
        if processor.cr8 == level and processor.interrupts_enabled and now == counts:
            return
        name = nt.describe_address(routine)
        if processor.cr8 != level:
            why = f"{name} was called at {level_name(level)} and returned at "
            why += f"{level_name(processor.cr8)}."
            if not vf.options:
                vi_irql_return(vf, processor.cr8, why)
            self.violation(0x12, routine, level, processor.cr8, why=why)
        if not processor.interrupts_enabled:
            vf.violation(0xC1, routine, why=f"{name} returned with interrupts disabled.")
        why = f"{name} was called with APC disable counts {counts} and returned with {now}: "
        why += "critical and guarded regions must be left by the routine that entered them."
        vf.violation(0xC5, routine, _packed(now), _packed(counts), why=why)

    def _check_status(
        self, routine: int, device: Any, irp: Any, flight: Flight, status: int
    ) -> None:
        """Does what the dispatch routine returned agree with what it did?"""
        kept = flight.completed is not None and not flight.marked and status == flight.status
        if kept and status not in (STATUS_PENDING, UNINITIALIZED):
            return
        name, text = self.nt.describe_address(routine), ntstatus.status_name(status)
        address, where = int(irp), int(device)
        notes = []
        if flight.completed is not None:
            at = flight.completed.moment(self.nt)
            notes = [Note(f"The IRP at {address:#x} was completed.", at)]
        if status == UNINITIALIZED:
            why = f"{name} returned 0xFFFFFFFF, perhaps a variable that was never set."
            self.violation(0x225, routine, address, status, why=why, device=where, notes=notes)
        if status == STATUS_PENDING:
            done = flight.completed is not None or flight.forwarded
            marked = flight.marked if done else self._is_marked(irp, flight)
            if not marked and not flight.forwarded:
                why = f"{name} returned STATUS_PENDING for an IRP that it did not mark with "
                why += "IoMarkIrpPending."
                self.violation(0x23D, routine, address, status, why=why, device=where, notes=notes)
            return
        if flight.completed is None and not flight.forwarded:
            why = f"{name} returned {text} and neither completed the IRP nor passed it down: only "
            why += "STATUS_PENDING says that it comes later."
            self.violation(0x226, routine, address, 0, why=why, device=where)
        if flight.completed is None:
            return
        if flight.marked:
            why = f"{name} marked the IRP pending and returned {text}, not STATUS_PENDING."
            self.violation(0x23E, routine, address, status, why=why, device=where, notes=notes)
        if status != flight.status:
            why = f"{name} returned {text}; the IRP was completed with "
            why += f"{ntstatus.status_name(flight.status)}."
            four = flight.status
            self.violation(0x224, routine, address, four, why=why, device=where, notes=notes)

    def _is_marked(self, irp: Any, flight: Flight) -> bool:
        """Whether the location of an IRP that is still in flight is marked; True if it is gone."""
        v = irp._v
        if v.Type != IO_TYPE_IRP or v.CurrentLocation != flight.location:
            return True
        return bool(io_current_location(self.nt, irp)._v.Control & PENDING)

    def added(self, driver: Any, routine: int, below: Any, pdo: Any) -> None:
        """A driver's AddDevice has succeeded; `below` was the top of the device's stack before."""
        if self.enabled and self.vf.verifies(driver.image):
            vi_added(self.vf, driver, routine, below, pdo)

    def fast_io(self, routine: int, arguments: tuple[Any, ...]) -> int:
        """Call a fast I/O routine: the level, the APC counts and the interrupts must stay."""
        nt, vf = self.nt, self.vf
        if not vf.verifies(nt.images.at(routine)):
            return nt.call(routine, *arguments)
        level, counts, name = nt.il.current.cr8, _counts(nt), nt.describe_address(routine)
        result = nt.call(routine, *arguments)
        now = nt.il.current.cr8
        if now != level:
            why = f"Fast I/O routine {name} was called at {level_name(level)} and returned at "
            self.violation(0x11, routine, level, now, why=f"{why}{level_name(now)}.")
        if not nt.il.current.interrupts_enabled:
            why = f"Fast I/O routine {name} returned with interrupts disabled."
            vf.violation(0xC3, routine, why=why)
        if (after_call := _counts(nt)) != counts:
            why = f"Fast I/O routine {name} changed the thread's APC disable counts from "
            why += f"{counts} to {after_call}."
            vf.violation(0xC6, routine, _packed(after_call), _packed(counts), why=why)
        return result

    def _log(self, device: Any, irp: Any, major: int) -> None:
        name = MAJOR_NAMES.get(major, str(major))
        seconds = self.nt.il.now / 10_000_000
        line = f"At {seconds:.6f} s the device {int(device):#x} was sent {name}, IRP {int(irp):#x}."
        self.log.setdefault(int(device), deque(maxlen=IRPS_PER_DEVICE)).append(line)

    def puts_off(self, irp: Any, boost: int) -> bool:
        """Whether the driver that completes an IRP was sent it by `forced_pending`."""
        if self.waiting.get(int(irp)) != irp._v.CurrentLocation:
            return False
        del self.waiting[int(irp)]
        complete_later(self.nt, irp, boost)
        return True

    def completion(self, routine: int, device: Any, irp: Any, context: int) -> int:
        """Call a completion routine and look at what it leaves behind; its status."""
        nt, vf = self.nt, self.vf
        if not vf.verifies(nt.images.at(routine)):
            return nt.call(routine, device, irp, context) & 0xFFFF_FFFF
        level, counts = nt.il.current.cr8, _counts(nt)
        location, pending = irp._v.CurrentLocation, irp._v.PendingReturned
        status = nt.call(routine, device, irp, context) & 0xFFFF_FFFF
        name, now = nt.describe_address(routine), nt.il.current.cr8
        if now != level:
            why = f"Completion routine {name} was called at {level_name(level)} and returned at "
            vf.violation(0xFA, routine, level, now, why=f"{why}{level_name(now)}.")
        if (after_call := _counts(nt)) != counts:
            why = f"Completion routine {name} changed the thread's APC disable counts from "
            why += f"{counts} to {after_call}."
            vf.violation(0xFB, routine, _packed(after_call), _packed(counts), why=why)
        if self.enabled and pending and status != MORE:
            v = irp._v
            if v.CurrentLocation == location <= v.StackCount:
                control = io_current_location(nt, irp)._v.Control
                if not control & PENDING:
                    why = f"{name} was called with Irp->PendingReturned set and did not call "
                    why += "IoMarkIrpPending."
                    self.violation(0x228, routine, int(irp), why=why, device=int(device))
        return status


def vi_irql_return(vf: Verifier, level: int, why: str) -> None:
    """Rule IrqlReturn speaks only where no option was asked for: 0x12 says it all."""
    if "IrqlReturn" in vf.rules:
        text = "The dispatch routine should return at the IRQL at which it was called."
        vi_rule(vf, "IrqlReturn", text, level, why=why)


def _counts(nt: Kernel) -> tuple[int, int]:
    v = nt.thread.v
    return int(v.KernelApcDisable), int(v.SpecialApcDisable)


def _packed(counts: tuple[int, int]) -> int:
    """KTHREAD.CombinedApcDisable: the special count in the upper half."""
    return (counts[1] & 0xFFFF) << 16 | counts[0] & 0xFFFF


@before(AUTOMATIC, "IofCallDriver PoCallDriver")
def vi_call_driver(vf: Verifier, nt: Kernel, DeviceObject: Any, Irp: Any) -> None:
    """0xC4/0xC0: interrupts are disabled; 0xC9/0x10: above DISPATCH_LEVEL."""
    if not nt.il.current.interrupts_enabled:
        vf.violation(0xC0, int(Irp), why="IoCallDriver was called with interrupts disabled.")
    if vf.irql > DISPATCH_LEVEL:
        why = f"IoCallDriver was called at {level_name(vf.irql)}, above DISPATCH_LEVEL."
        vf.io.violation(0x10, vf.irql, why=why)


@before("io", "IofCallDriver PoCallDriver")
def vi_call_driver_irp(vf: Verifier, nt: Kernel, DeviceObject: Any, Irp: Any) -> None:
    """No IRP, no device, a cancel routine left in it, no stack location."""
    io, v = vf.io, Irp._v
    if v.Type != IO_TYPE_IRP:
        io.violation(0x3, int(Irp), why=f"IoCallDriver was given {int(Irp):#x}, which is no IRP.")
    if not DeviceObject:
        io.violation(0x204, why="IoCallDriver was given NULL as device object.")
    if DeviceObject._v.Type != IO_TYPE_DEVICE:
        why = f"IoCallDriver was given {int(DeviceObject):#x}, which is no device object."
        io.violation(0x4, int(DeviceObject), why=why)
    if v.CancelRoutine:
        why = f"An IRP was sent with the cancel routine {nt.describe_address(v.CancelRoutine)} in "
        io.violation(
            0x203, vf.driver_address(), int(Irp), why=why + "it: IoSetCancelRoutine(NULL)."
        )
    if DeviceObject._v.Flags & BOTH_METHODS == BOTH_METHODS:
        why = f"The device {int(DeviceObject):#x} has DO_BUFFERED_IO and DO_DIRECT_IO both set."
        io.violation(0x245, why=why)
    if v.CurrentLocation <= 1:
        why = f"An IRP of {v.StackCount} stack locations was sent to a driver for which none is "
        why += "left: allocate it with DeviceObject->StackSize."
        io.violation(0x208, vf.driver_address(), int(Irp), why=why)


@before("io", "IofCallDriver")
def vi_signalled_event(vf: Verifier, nt: Kernel, DeviceObject: Any, Irp: Any) -> None:
    """Remember an IRP of this driver whose event is signalled already."""
    v = Irp._v
    own = v.CurrentLocation == v.StackCount + 1 and int(Irp) not in vf.io.flights
    if own and v.UserEvent and KEVENT.at(nt.mmu, v.UserEvent)._v.Header_SignalState > 0:
        vf.io.signalled[int(Irp)] = nt.thread.va


@after("io", "IofCallDriver")
def vi_pending_with_event(
    vf: Verifier, result: int, nt: Kernel, DeviceObject: Any, Irp: Any
) -> None:
    """0x307: STATUS_PENDING, and the event to wait for was set before the request was sent."""
    if vf.io.signalled.pop(int(Irp), 0) == nt.thread.va and result == STATUS_PENDING:
        why = "A request was sent with an event that was signalled already and is pending: a wait "
        why += "for the event would not wait for the request. KeClearEvent first."
        vf.io.violation(0x307, vf.driver_address(), int(Irp), why=why)


@before(AUTOMATIC, "IofCompleteRequest")
def vi_complete_level(vf: Verifier, nt: Kernel, Irp: Any, Boost: int) -> None:
    """0xC9/0xE: above DISPATCH_LEVEL."""
    if vf.irql > DISPATCH_LEVEL:
        why = f"IoCompleteRequest was called at {level_name(vf.irql)}, above DISPATCH_LEVEL."
        vf.io.violation(0xE, vf.irql, int(Irp), why=why)


@before("io", "IofCompleteRequest")
def vi_complete(vf: Verifier, nt: Kernel, Irp: Any, Boost: int) -> None:
    """A status that is none, a cancel routine left, more Information than there is buffer."""
    io, v = vf.io, Irp._v
    if v.Type != IO_TYPE_IRP or v.CurrentLocation > v.StackCount + 1:
        return  # 0x44 follows
    status = v.IoStatus_Status
    if status in (STATUS_PENDING, UNINITIALIZED):
        what = "STATUS_PENDING" if status == STATUS_PENDING else "0xFFFFFFFF"
        why = f"IoCompleteRequest was called with {what} in Irp->IoStatus.Status."
        io.violation(0x6, status, int(Irp), why=why)
    if v.CancelRoutine:
        name = nt.describe_address(v.CancelRoutine)
        why = f"IoCompleteRequest was called with the cancel routine {name} still set."
        io.violation(0x7, v.CancelRoutine, int(Irp), why=why)
    if v.CurrentLocation <= v.StackCount:
        vi_check_information(vf, nt, Irp)
    elif int(Irp) in io.allocated:
        why = "An IRP was completed that this driver allocated and never sent: IoFreeIrp it."
        notes = [Note("The IRP was allocated.", io.allocated[int(Irp)])]
        io.violation(0x239, why=why, notes=notes)
    vi_check_stack(vf, nt, Irp)
    for flight in io.flights.get(int(Irp), ())[-1:]:
        flight.completed, flight.status = vf.here(), status
        if v.CurrentLocation <= v.StackCount:
            flight.marked = bool(io_current_location(nt, Irp)._v.Control & PENDING)


def vi_check_stack(vf: Verifier, nt: Kernel, irp: Any) -> None:
    """0xC, 0xD: status block or event on a stack that has unwound past them."""
    v = irp._v
    thread = nt.ke.threads.get(v.Tail_Overlay_Thread)
    if thread is None or v.RequestorMode:
        return
    for kind, name, address in ((0xC, "status block", v.UserIosb), (0xD, "event", v.UserEvent)):
        if thread.stack_limit <= address < thread.storage:
            why = f"An IRP was completed whose {name} at {address:#x} was a variable of a routine "
            vf.io.violation(kind, address, why=why + "that has returned: it must wait for the IRP.")


def vi_check_information(vf: Verifier, nt: Kernel, irp: Any) -> None:
    """0x312: METHOD_BUFFERED copies Information bytes back, whatever lies behind the buffer."""
    v, stack = irp._v, io_current_location(nt, irp)
    if stack._v.MajorFunction != c.IRP_MJ_DEVICE_CONTROL or v.IoStatus_Status >> 30 == 3:
        return
    request = stack.Parameters.DeviceIoControl
    size, given = request.OutputBufferLength, v.IoStatus_Information
    if request.IoControlCode & 3 == METHOD_BUFFERED and v.UserBuffer and given > size:
        why = f"An IRP was completed with Information {given}; its output buffer has {size} bytes."
        vf.io.violation(0x312, vf.driver_address(), int(irp), why=why)


@after("io", "IoAllocateIrp IoAllocateIrpEx")
def vi_allocated(vf: Verifier, result: Any, nt: Kernel, *arguments: Any) -> None:
    if result:
        vf.io.allocated[int(result)] = vf.moment()


@before("io", "IoFreeIrp")
def vi_free_irp(vf: Verifier, nt: Kernel, Irp: Any) -> None:
    """0x1: no IRP; 0x2: queued to a thread; 0x20A: a driver below still has it."""
    io, v = vf.io, Irp._v
    made = io.allocated.pop(int(Irp), None)
    notes = [] if made is None else [Note("The IRP was allocated.", made)]
    if v.Type != IO_TYPE_IRP:
        why = f"IoFreeIrp was given {int(Irp):#x}, which is no IRP, or was freed already."
        io.violation(0x1, int(Irp), why=why, notes=notes)
    if v.ThreadListEntry_Flink != int(Irp.ThreadListEntry):
        why = "IoFreeIrp was given an IRP that is queued to a thread: the I/O manager frees it."
        io.violation(0x2, int(Irp), why=why, notes=notes)
    if vi_in_use(Irp):
        why = "IoFreeIrp was given an IRP that a lower driver has not completed."
        io.violation(0x20A, vf.driver_address(), int(Irp), why=why, notes=notes)


def vi_in_use(irp: Any) -> bool:
    """Whether an IRP was sent and has not come back up all its locations."""
    v = irp._v
    return bool(v.CurrentLocation <= v.StackCount)


@before("io", "IoReuseIrp")
def vi_reuse_irp(vf: Verifier, nt: Kernel, Irp: Any, Status: int) -> None:
    """0x310: in use; 0x311: made by an IoBuild routine for a thread."""
    if vi_in_use(Irp):
        why = "IoReuseIrp was given an IRP that a lower driver has not completed."
        vf.io.violation(0x310, vf.driver_address(), int(Irp), why=why)
    if Irp._v.ThreadListEntry_Flink != int(Irp.ThreadListEntry):
        why = "IoReuseIrp was given an IRP of a build routine: the I/O manager frees it."
        vf.io.violation(0x311, vf.driver_address(), int(Irp), why=why)


@before("io", "IoInitializeIrp")
def vi_initialize_irp(vf: Verifier, nt: Kernel, Irp: Any, *rest: int) -> None:
    """0x20D: IoAllocateIrp has initialized it, and IoInitializeIrp would lose what it noted."""
    if int(Irp) in vf.io.allocated:
        why = "IoInitializeIrp was called for an IRP from IoAllocateIrp: IoReuseIrp does that."
        notes = [Note("The IRP was allocated.", vf.io.allocated[int(Irp)])]
        vf.io.violation(0x20D, vf.driver_address(), int(Irp), why=why, notes=notes)


@before("io", "IoInitializeTimer")
def vi_initialize_timer(vf: Verifier, nt: Kernel, DeviceObject: Any, *rest: Any) -> None:
    if DeviceObject._v.Timer:
        why = f"IoInitializeTimer was called twice for the device {int(DeviceObject):#x}."
        vf.io.violation(0xA, int(DeviceObject), why=why)


@before("io", "IoDetachDevice")
def vi_detach(vf: Verifier, nt: Kernel, TargetDevice: Any) -> None:
    if not TargetDevice._v.AttachedDevice:
        why = f"IoDetachDevice: nothing is attached to the device {int(TargetDevice):#x}."
        vf.io.violation(0x202, vf.driver_address(), int(TargetDevice), why=why)


@before("io", "IoDeleteDevice")
def vi_delete_device(vf: Verifier, nt: Kernel, DeviceObject: Any) -> None:
    """0x201: it is attached to a device below; 0x240: it is deleted already."""
    if iop_is_being_deleted(nt, DeviceObject):
        why = f"IoDeleteDevice was called twice for the device {int(DeviceObject):#x}."
        vf.io.violation(0x240, why=why)
    if vi_extension(nt, int(DeviceObject)).AttachedTo:
        why = f"The device {int(DeviceObject):#x} was deleted while it is attached to another: "
        vf.io.violation(0x201, vf.driver_address(), why=why + "IoDetachDevice first.")


assert LOCATION == 0x48
