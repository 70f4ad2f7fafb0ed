"""Facts about what happened, in the past tense: what the recorder keeps and watchers read.

Every event starts with the virtual time (100 ns units since boot), the processor, the thread
("cid pid.tid" as WinDbg writes it) and the line of driver or app source that caused it, empty when
the kernel acted by itself. `str(event)` is its line in an event log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from ntsim.abi.ntstatus import status_name
from ntsim.abi.vmx_constants import exit_reason_name

IRQL_NAMES = {0: "PASSIVE_LEVEL", 1: "APC_LEVEL", 2: "DISPATCH_LEVEL", 5: "CMCI_LEVEL"}
IRQL_NAMES |= {12: "SYNCH_LEVEL", 13: "CLOCK_LEVEL", 14: "IPI_LEVEL", 15: "HIGH_LEVEL"}


def irql_name(level: int) -> str:
    """`DISPATCH_LEVEL (2)`; a device level is named by number alone."""
    name = IRQL_NAMES.get(level)
    return f"{name} ({level})" if name else f"IRQL {level}"


@dataclass(slots=True)
class Event:
    """Base of every event."""

    time: int
    processor: int
    thread: str
    where: str

    text: ClassVar[str] = ""
    number: ClassVar[int] = 0

    def __str__(self) -> str:
        place = f"  [{self.where}]" if self.where else ""
        return (
            f"{self.time // 10:>12}.{self.time % 10} us  P{self.processor:<2} {self.thread:<9} "
            f"{self.describe()}{place}"
        )

    def describe(self) -> str:
        """What happened, without time and place."""
        return self.text.format(self, **{f.name: show(getattr(self, f.name)) for f in fields(self)})


def show(value: Any) -> str:
    """A field's value for people: addresses in hex, small numbers plain."""
    if isinstance(value, bool) or not isinstance(value, int):
        return str(value)
    return f"{value:#x}" if value > 0xFFFF else str(value)


KINDS: list[Callable[..., Event]] = [Event]
"""Every class of event, by its number, and functions that make one of what was recorded."""


def event(text: str = "", **late: Callable[[Any], Any]) -> Any:
    """Class decorator: a slotted dataclass whose log text is `text`, unless it has `describe`.

    Fields named in `late` are recorded as numbers, and become what the function makes of the
    number only when somebody looks: most are never looked at.
    """

    def make(cls: type) -> type:
        made: Any = dataclass(slots=True)(cls)
        made.text, made.number = text, len(KINDS)
        KINDS.append(_made_late(made, late) if late else made)
        return made  # type: ignore[no-any-return]

    return make


def _made_late(cls: Any, late: dict[str, Callable[[Any], Any]]) -> Callable[..., Event]:
    places = [(place, late[f.name]) for place, f in enumerate(fields(cls)) if f.name in late]

    def make(*recorded: Any) -> Event:
        values = list(recorded)
        for place, text_of in places:
            values[place] = text_of(values[place])
        return cls(*values)  # type: ignore[no-any-return]

    return make


@event("driver {name} loaded at {base}")
class DriverLoaded(Event):
    name: str
    base: int


@event("driver {name} unloaded")
class DriverUnloaded(Event):
    name: str


@event("DriverEntry of {name} returned {status}")
class DriverEntryReturned(Event):
    name: str
    status: str


@event("process {name} created, pid {pid}")
class ProcessCreated(Event):
    name: str
    pid: int


@event("process {name} exited with code {code}")
class ProcessExited(Event):
    name: str
    code: int


@event("thread {tid} of {process} created")
class ThreadCreated(Event):
    process: str
    tid: int


@event("thread {tid} terminated")
class ThreadTerminated(Event):
    tid: int


@event("switched to thread {target}")
class ThreadSwitched(Event):
    target: str


@event("system call {service}")
class SystemCallEntered(Event):
    service: str


@event("system call {service} returns {status} to user mode", status=status_name)
class SystemCallReturned(Event):
    service: str
    status: str


@event()
class IrqlRaised(Event):
    """IRQL went from `old` to `new` by `routine`."""

    old: int
    new: int
    routine: str

    def describe(self) -> str:
        return f"{self.routine}: IRQL {irql_name(self.old)} -> {irql_name(self.new)}"


@event()
class IrqlLowered(IrqlRaised):
    """IRQL went down from `old` to `new` by `routine`."""


@event("interrupts disabled by {reason}")
class InterruptsDisabled(Event):
    reason: str


@event("interrupts enabled by {reason}")
class InterruptsEnabled(Event):
    reason: str


@event("interrupts were off for {duration} x 100 ns, from {cause} until {reason}")
class InterruptsHeldOff(Event):
    duration: int
    cause: str
    reason: str


@event("{kind} APCs disabled by {routine}, count {count}")
class ApcsDisabled(Event):
    """`kind` is "kernel" (KernelApcDisable) or "special"; `count` the thread's count afterwards."""

    kind: str
    count: int
    routine: str


@event("{kind} APCs enabled by {routine}, count {count}")
class ApcsEnabled(ApcsDisabled):
    """One disable undone."""


@event("IRP {irp} for {major} sent to {driver}")
class IrpSent(Event):
    irp: int
    major: str
    driver: str


@event("IRP {irp} completed with {status}, Information {information}", status=status_name)
class IrpCompleted(Event):
    irp: int
    status: str
    information: int


@event("IRP {irp} cancelled")
class IrpCancelled(Event):
    irp: int


@event("spin lock {lock} acquired")
class SpinLockAcquired(Event):
    lock: int


@event("spin lock {lock} released")
class SpinLockReleased(Event):
    lock: int


@event("{kind} {lock} acquired")
class LockAcquired(Event):
    """A lock that threads wait for; without a place the wait that began last has brought it."""

    kind: str
    lock: int


@event("{kind} {lock} released")
class LockReleased(Event):
    """One acquisition undone."""

    kind: str
    lock: int


@event("DPC {dpc} queued to processor {target}")
class DpcQueued(Event):
    dpc: int
    target: int


@event("DPC {dpc} runs {routine}")
class DpcStarted(Event):
    dpc: int
    routine: str


@event("DPC {dpc} has returned")
class DpcEnded(Event):
    dpc: int


@event("timer {timer} expired")
class TimerExpired(Event):
    timer: int


@event("waits for {objects}")
class WaitStarted(Event):
    objects: str


@event("wait ended with {status}")
class WaitEnded(Event):
    status: str


@event("work item {item} runs {routine}")
class WorkItemStarted(Event):
    item: int
    routine: str


@event("affinity set to {mask}")
class AffinityChanged(Event):
    mask: int


@event("pool: {size} bytes at {address}, tag '{tag}'")
class PoolAllocated(Event):
    address: int
    size: int
    tag: str


@event("pool: {address} freed, tag '{tag}'")
class PoolFreed(Event):
    address: int
    tag: str


@event("list entry {entry} is corrupt: {found}")
class ListCorrupt(Event):
    """The check of a list found a `neighbour` that does not point back; `found` says so."""

    entry: int
    neighbour: int
    found: str


@event("DbgPrint: {line}")
class DebugPrinted(Event):
    line: str


@event("MDL {mdl}: {pages} pages of {process} locked")
class PagesLocked(Event):
    """A driver locked pages of a process; the I/O manager's own MDLs are not recorded."""

    mdl: int
    pages: int
    process: int


@event("{pages} pages of {whose} paged out")
class PagesTrimmed(Event):
    """The memory manager took pages out of a working set."""

    pages: int
    whose: str


@event("MDL {mdl}: unlocked")
class PagesUnlocked(Event):
    mdl: int


@event("resource {resource}: initialized")
class ResourceInitialized(Event):
    resource: int


@event("exception {code} raised: {reason}")
class ExceptionRaised(Event):
    code: str
    reason: str


@event("VT-x: {text_}")
class VmxOccurred(Event):
    """An occurrence on the processor's VT-x unit; `name` is the class in hw/vmx/events.py."""

    name: str
    text_: str


def _vm_entered(
    time: int, processor: int, thread: str, where: str, instruction: str, rip: int
) -> VmxOccurred:
    text = f"{instruction}: guest at {rip:#x}"
    made: Any = VmxOccurred  # a dataclass by the decorator `event`
    return made(time, processor, thread, where, "VmEntered", text)  # type: ignore[no-any-return]


VM_ENTERED = len(KINDS)
"""The number under which VM entries are recorded: there are many, and few texts are ever read."""
KINDS.append(_vm_entered)


@event(
    "VM exit: {reason}, qualification {qualification}, guest RIP {rip}; RFLAGS is now 2",
    reason=exit_reason_name,
)
class VmExited(Event):
    reason: str
    qualification: int
    rip: int



@event("{what} loaded with {value}")
class SystemRegisterLoaded(Event):
    what: str
    value: int


@event("patch protection: {what} was {was} and is {now}")
class StructureChanged(Event):
    what: str
    was: int
    now: int


@event("{what} on a stack that is not the thread's: RSP {rsp}, its stack {low} to {high}")
class StackNotTheThreads(Event):
    what: str
    rsp: int
    low: int
    high: int


@event("stack saved in {slot}")
class StackSaved(Event):
    slot: int


@event("stack restored from {slot}; {abandoned} frames abandoned: {frames}")
class StackRestored(Event):
    slot: int
    abandoned: int
    frames: str


@event("finding {rule}: {message}")
class FindingReported(Event):
    rule: str
    message: str


@event("{routine} fails on purpose")
class FailureInjected(Event):
    routine: str


@event("bug check {code}: {parameters}")
class BugChecked(Event):
    code: str
    parameters: str


@event("device {device} is now {state}")
class DeviceStateChanged(Event):
    """`state` as !devnode names it; `device` is the instance path."""

    device: str
    state: str


@event("interrupt {vector} serviced by {routine}")
class InterruptServiced(Event):
    vector: int
    routine: str


@event("device object {device} is in power state {state}")
class DevicePowerChanged(Event):
    device: int
    state: str


@event("power IRP {irp} {request} for device object {device}")
class PowerIrpSent(Event):
    """`request` as `SET_POWER D0`."""

    irp: int
    request: str
    device: int


@event("ETW provider {provider} wrote {what}")
class TraceWritten(Event):
    provider: str
    what: str


@event("event log: {source} logs error {code}, {size} bytes")
class ErrorLogged(Event):
    """`source` is the driver, or the name of the device's object."""

    source: str
    code: str
    size: int


@event("WMI: device object {device} registered {count} blocks")
class WmiRegistered(Event):
    device: int
    count: int


@event("WMI: event of block {guid}, {size} bytes")
class WmiEventWritten(Event):
    guid: str
    size: int


@event("delayed write failed: {pages} pages are lost, {status}")
class DelayedWriteFailed(Event):
    pages: int
    status: str


@event("bug-check callback of {component}: {routine}")
class BugCheckCallbackCalled(Event):
    component: str
    routine: str
