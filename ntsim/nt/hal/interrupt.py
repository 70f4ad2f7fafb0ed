"""Interrupt lines of devices: from the line through the vector to the chain of service routines.

A level-triggered line stays up until a service routine claims the interrupt (or, where the device's
model has `interrupt_pending(line)`, while that is true), so an interrupt that nobody claims comes
again at once: after STORM of them in a row the system stops with 0xF2. The limit is ours; Windows'
is not documented. A line that is not connected is masked and waits. Source: WDK "Introduction to
Interrupt Objects", IoConnectInterrupt; bug check 0xF2 reference.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ntsim.abi import bugcodes
from ntsim.abi.types import REGISTRY, pointer_class
from ntsim.hw.cpu import Processor
from ntsim.nt.events import InterruptServiced
from ntsim.nt.ke.spinlock import kx_acquire_spin_lock, kx_release_spin_lock
from ntsim.nt.pnp.hardware import Hardware, hal_vector

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

NOT_CLAIMED, CLAIMED = 1, 2
STORM = 1000


def hal_raise_line(nt: Kernel, hardware: Hardware, line: int) -> None:
    """A device asserts its line."""
    hardware.asserted.add(line)
    nt.il.progress += 1
    hal_request(nt, hal_vector(line))


def hal_request(nt: Kernel, vector: int) -> None:
    """Ask the processor with the lowest level to take a vector; nobody if it is not connected."""
    if nt.device_handlers.get(vector) is not None:
        target = min(nt.processors, key=lambda each: (each.cr8, each.number))
        target.apic.request(vector)


def hal_connect_vector(nt: Kernel, vector: int) -> None:
    """The first service routine of a vector: unmask it, and take what waited."""
    nt.device_handlers[vector] = partial(hal_service, nt, vector)
    if any(_asserted(nt, vector)):
        hal_request(nt, vector)


def hal_disconnect_vector(nt: Kernel, vector: int) -> None:
    """No service routine is left."""
    nt.device_handlers.pop(vector, None)


def _asserted(nt: Kernel, vector: int) -> list[tuple[Hardware, int]]:
    """Devices that hold a line of this vector up."""
    return [
        (hardware, line)
        for hardware in nt.pnp.hardware.values()
        for line in sorted(hardware.asserted)
        if hal_vector(line) == vector
    ]


def hal_service(nt: Kernel, vector: int, processor: Processor) -> None:
    """The interrupt, at its level: every routine of the chain until one claims it."""
    for count in range(1, STORM + 1):
        chain = nt.pnp.interrupts.get(vector, [])
        for hardware, line in _asserted(nt, vector):
            if hardware.latched:
                hardware.asserted.discard(line)
        claimed = False
        for interrupt in chain:
            claimed = bool(hal_call_service(nt, interrupt) & 0xFF)
            nt.emit(InterruptServiced, vector, nt.describe_address(interrupt._v.ServiceRoutine))
            if claimed:
                break
        _drop_lines(nt, vector, claimed)
        if not _asserted(nt, vector) or not chain:
            return
        if count == STORM:
            v = chain[0]._v
            kind = CLAIMED if claimed else NOT_CLAIMED
            code, routine = bugcodes.HARDWARE_INTERRUPT_STORM, v.ServiceRoutine
            nt.bugcheck(code, routine, v.ServiceContext, int(chain[0]), kind)


def _drop_lines(nt: Kernel, vector: int, claimed: bool) -> None:
    """Which levels fall: as the device's model says, else when the interrupt was claimed."""
    for hardware, line in _asserted(nt, vector):
        pending = getattr(hardware.model, "interrupt_pending", None)
        if not pending(line) if pending is not None else claimed:
            hardware.asserted.discard(line)


def hal_lock(nt: Kernel, interrupt: Any) -> Any:
    """The interrupt's spin lock."""
    kind = pointer_class(REGISTRY["KSPIN_LOCK"])
    return kind.at(nt.mmu, interrupt._v.ActualLock)


def hal_call_service(nt: Kernel, interrupt: Any) -> int:
    """Call one service routine at its synchronization level, holding its lock."""
    processor = nt.il.current
    v = interrupt._v
    old, processor.cr8 = processor.cr8, max(processor.cr8, v.SynchronizeIrql)
    lock = hal_lock(nt, interrupt)
    kx_acquire_spin_lock(nt, lock)
    v.ServiceCount += 1
    if v.MessageServiceRoutine:
        routine, context = v.MessageServiceRoutine, v.ServiceContext
        result = nt.call_for_no_thread(routine, interrupt, context, v.MessageIndex)
    else:
        result = nt.call_for_no_thread(v.ServiceRoutine, interrupt, v.ServiceContext)
    kx_release_spin_lock(nt, lock)
    nt.il.current.cr8 = old
    return result
