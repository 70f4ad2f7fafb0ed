"""Hardware and software interrupts, by vector. A vector's upper half is its IRQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import bugcodes
from ntsim.abi.ke import DPC_WATCHDOG_GLOBAL_TRIAGE_BLOCK, KPRCB
from ntsim.hw.clock import TICK_100NS
from ntsim.hw.cpu import Processor
from ntsim.nt.ke.dpc import ki_retire_dpc_list
from ntsim.nt.ke.ipi import IPI_VECTOR, ki_ipi_interrupt
from ntsim.nt.ke.irql import DISPATCH_LEVEL
from ntsim.nt.ke.nmi import ki_handle_nmi
from ntsim.nt.ke.scheduler import DISPATCH_VECTOR, ki_dispatch
from ntsim.nt.ki.syscall import ki_unhandled
from ntsim.nt.mm.variables import mi_variable
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

NMI_VECTOR = 0x02
APC_VECTOR = 0x1F
CLOCK_VECTOR = 0xD1
DPC_WATCHDOG_TICKS = 1280
"""Single-DPC limit: 20 s of 15.625 ms ticks, the documented default (0x500)."""

DISPATCH_WATCHDOG_TICKS = 7680
"""Cumulative limit at or above DISPATCH_LEVEL: 120 s (0x1E00)."""

TRIAGE_SIGNATURE = 0xAEBECEDE


def ki_interrupt(nt: Kernel, processor: Processor, vector: int) -> None:
    """Common entry: raise to the vector's IRQL, handle, end of interrupt, lower again.

    The gate clears RFLAGS.IF and the trap handler sets it again once CR8 holds everything of the
    same class and below off.
    """
    if vector == NMI_VECTOR:
        ki_handle_nmi(nt)
        return
    nt.prcb[processor.number]._v.InterruptCount += 1
    if vector == APC_VECTOR:
        processor.apic.end_of_interrupt()
        nt.ki.deliver_apcs(nt.thread)
        return
    old = processor.cr8
    processor.cr8 = vector >> 4
    try:
        ki_service_interrupt(nt, processor, vector, old)
    except StructuredException as error:
        ki_unhandled(nt, error, interrupt=True)
    nt.il.current.cr8 = old


def ki_service_interrupt(nt: Kernel, processor: Processor, vector: int, interrupted: int) -> None:
    """What a vector stands for; `interrupted` is the IRQL before it."""
    if vector == DISPATCH_VECTOR:
        processor.apic.end_of_interrupt()
        ki_dispatch_interrupt(nt, processor)
    elif vector == CLOCK_VECTOR:
        ki_clock_interrupt(nt, processor, interrupted)
        processor.apic.end_of_interrupt()
    elif vector == IPI_VECTOR:
        ki_ipi_interrupt(nt, processor.number)
        processor.apic.end_of_interrupt()
    else:
        nt.device_interrupt(processor, vector)
        processor.apic.end_of_interrupt()


def ki_dispatch_interrupt(nt: Kernel, processor: Processor) -> None:
    """DISPATCH_LEVEL: expire timers and retire DPCs, then let the dispatcher choose.

    Patch protection looks first, where it is due.

    What they do is no progress by itself: it does not show that anybody who spins gets on.
    """
    if processor.number in nt.ki.integrity.wanted:
        nt.ki.integrity.look(processor)
        processor = nt.il.current
    progress = nt.il.progress
    nt.ke.timers.expire(processor.number, nt.il.now)
    ki_retire_dpc_list(nt, processor)
    nt.il.progress = progress
    ki_dispatch(nt, processor)


def ki_clock_interrupt(nt: Kernel, processor: Processor, interrupted: int) -> None:
    """One tick of a processor: time, quantum, the DPC watchdog; timers expire at DISPATCH_LEVEL."""
    nt.ke.update_time()
    elapsed = nt.ke.count_ticks(processor)
    if nt.ke.pending_watchdog is not None and nt.ke.pending_watchdog[0] == processor.number:
        ki_clock_watchdog_timeout(nt, nt.ke.pending_watchdog[1])
    if processor.number in nt.ke.timers.processors_due(nt.il.now):
        processor.apic.request(DISPATCH_VECTOR)
    integrity = nt.ki.integrity
    if nt.il.clock.now >= integrity.due:
        integrity.begin()
    if processor.number in integrity.wanted:
        processor.apic.request(DISPATCH_VECTOR)
    if interrupted >= DISPATCH_LEVEL:
        ki_dpc_watchdog(nt, processor, elapsed)
        return
    nt.ke.dispatch_ticks[processor.number] = 0
    thread = nt.thread
    if thread is not nt.ke.idle_threads[processor.number]:
        thread.quantum -= elapsed
        if thread.quantum <= 0:
            nt.prcb[processor.number]._v.QuantumEnd = 1
            processor.apic.request(DISPATCH_VECTOR)


def ki_dpc_watchdog(nt: Kernel, processor: Processor, elapsed: int) -> None:
    """Count ticks spent at or above DISPATCH_LEVEL; 0x133 when a limit is passed.

    Parameter 1 is 0 for a single DPC over its time (parameter 2: ticks counted, 3: the limit, 4:
    the triage block), 1 for the cumulative limit (2: the limit, 3: the triage block). Source: bug
    check 0x133 reference.
    """
    number = processor.number
    prcb = nt.prcb[number]._v
    nt.ke.dispatch_ticks[number] += elapsed
    if prcb.DpcRoutineActive:
        prcb.DpcTimeCount += elapsed
        if prcb.DpcTimeCount > DPC_WATCHDOG_TICKS:
            block = ki_dpc_watchdog_triage_block(nt)
            code = bugcodes.DPC_WATCHDOG_VIOLATION
            nt.bugcheck(code, 0, prcb.DpcTimeCount, DPC_WATCHDOG_TICKS, block)
    if nt.ke.dispatch_ticks[number] > DISPATCH_WATCHDOG_TICKS:
        block = ki_dpc_watchdog_triage_block(nt)
        nt.bugcheck(bugcodes.DPC_WATCHDOG_VIOLATION, 1, DISPATCH_WATCHDOG_TICKS, block, 0)


def ki_dpc_watchdog_triage_block(nt: Kernel) -> int:
    """The block in nt's .data that says where in KPRCB the watchdog's profile is; made at boot.

    Its length is 0 here: no profile is taken. Dumps of Windows 10 hold the address of such a block
    in the parameter (nmap/npcap issue 663); its layout is from those builds' public symbols.
    """
    address = mi_variable(nt, "KiDpcWatchdogTriageBlock", DPC_WATCHDOG_GLOBAL_TRIAGE_BLOCK.size)
    v = DPC_WATCHDOG_GLOBAL_TRIAGE_BLOCK.at(nt.mmu, address)._v
    v.Signature, v.Revision = TRIAGE_SIGNATURE, 1
    v.Size = DPC_WATCHDOG_GLOBAL_TRIAGE_BLOCK.size
    v.DpcWatchdogProfileOffset = KPRCB.offset_of("DpcWatchdogProfile")
    return address


CLOCK_WATCHDOG_100NS = 10 * 10_000_000


def ki_clock_watchdog(nt: Kernel) -> None:
    """Another processor notices one that takes no clock interrupt: 0x101.

    Of several it is the one that has been silent longest: the others may be waiting for it, as in
    KeIpiGenericCall at IPI_LEVEL. On a machine with one processor there is nobody to notice.
    Source: bug check 0x101 reference.
    """
    now, silent, longest = nt.il.clock.now, None, CLOCK_WATCHDOG_100NS
    for processor in nt.processors:
        since = now - nt.ke.ticks[processor.number]
        if since > longest and not _sleeps(nt, processor):
            silent, longest = processor, since
    witness = None if silent is None else _witness(nt, silent)
    if silent is not None and witness is not None:
        nt.ke.pending_watchdog = (witness.number, silent.number)
        witness.apic.request(CLOCK_VECTOR)


def ki_next_event(nt: Kernel, timer: tuple[int, int] | None) -> tuple[int, int] | None:
    """What an idle machine waits for, as (interrupt time, processor): `timer`, or a check."""
    halted = _halted_for_good(nt)
    changed = nt.ki.integrity.next_look() if timer is None else None
    return min((event for event in (timer, halted, changed) if event is not None), default=None)


def _halted_for_good(nt: Kernel) -> tuple[int, int] | None:
    """When a processor that no interrupt wakes will be noticed, and by which."""
    for processor in nt.processors:
        if processor.halted and not _sleeps(nt, processor):
            witness = _witness(nt, processor)
            if witness is not None:
                return nt.ke.ticks[processor.number] + CLOCK_WATCHDOG_100NS + 1, witness.number
    return None


def _sleeps(nt: Kernel, processor: Processor) -> bool:
    """Halted until an interrupt comes; with RFLAGS.IF clear none ever does, but for a guest."""
    return processor.halted and (processor.may_wake or nt.vmx_mode(processor) == "non-root")


def _witness(nt: Kernel, silent: Processor) -> Processor | None:
    """A processor that takes its clock interrupts."""
    able = (p for p in nt.processors if p.interrupts_enabled and p.cr8 < CLOCK_VECTOR >> 4)
    return next((processor for processor in able if processor is not silent), None)


def ki_clock_watchdog_timeout(nt: Kernel, number: int) -> None:
    """The witness stops the system on behalf of the silent processor.

    Parameter 1 is the time-out in nominal ticks, parameter 3 the silent processor's PRCB, parameter
    4 its number.
    """
    interval = CLOCK_WATCHDOG_100NS // TICK_100NS
    nt.bugcheck(bugcodes.CLOCK_WATCHDOG_TIMEOUT, interval, 0, int(nt.prcb[number]), number)
