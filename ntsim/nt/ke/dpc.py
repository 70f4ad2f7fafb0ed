"""Deferred procedure calls: queued per processor, run at DISPATCH_LEVEL by the dispatch interrupt.

The queue is the KDPC_DATA of the target's KPRCB: a singly linked list in bytes. Source: WDK
"Introduction to DPC Objects"; kmtests KeDpc.c; Wine ntoskrnl tests test_dpc_func.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi.ke import KDPC, KDPC_DATA, KPRCB
from ntsim.abi.scalars import (
    BOOLEAN,
    CCHAR,
    KDPC_IMPORTANCE,
    LOGICAL,
    PKDEFERRED_ROUTINE,
    PVOID,
    ULONG,
)
from ntsim.hw.cpu import Processor
from ntsim.nt.events import DpcEnded, DpcQueued, DpcStarted
from ntsim.nt.exports import export
from ntsim.nt.ke.irql import DISPATCH_LEVEL, HIGH_LEVEL, set_irql

if TYPE_CHECKING:
    from ntsim.abi.ke import PKDPC
    from ntsim.abi.rtl import PPROCESSOR_NUMBER
    from ntsim.nt.kernel import Kernel

DPC_OBJECT, THREADED_DPC_OBJECT = 0x13, 0x18
LOW_IMPORTANCE, MEDIUM_IMPORTANCE, HIGH_IMPORTANCE = 0, 1, 2
TARGETED = 0x500
"""KDPC.Number of a targeted DPC is this plus the processor's number (MAXIMUM_PROC_PER_SET)."""

DISPATCH_VECTOR = 0x2F
IRQL_UNEXPECTED_VALUE = 0xC8
_ENTRY = KDPC.offset_of("DpcListEntry")
_DATA = KPRCB.offset_of("DpcData")


def ki_dpc_data(nt: Kernel, number: int) -> Any:
    """The normal DPC queue of a processor."""
    return KDPC_DATA.at(nt.mmu, int(nt.prcb[number]) + _DATA)


def ki_insert_dpc(nt: Kernel, dpc: Any, argument1: int, argument2: int) -> bool:
    """Queue a DPC unless it is queued; ask its processor for a dispatch interrupt."""
    v = dpc._v
    if v.DpcData:
        return False
    number = v.Number - TARGETED if v.Number >= TARGETED else nt.il.current.number
    if number >= len(nt.processors):
        ki_touch_missing_processor(nt)
    data = ki_dpc_data(nt, number)
    v.SystemArgument1, v.SystemArgument2, v.DpcData = int(argument1), int(argument2), int(data)
    _link(nt, data, int(dpc) + _ENTRY, v.Importance == HIGH_IMPORTANCE)
    nt.emit_at(DpcQueued, int(dpc), number)
    target = nt.processors[number]
    target.apic.request(DISPATCH_VECTOR)
    nt.il.take_interrupts()
    return True


def ki_touch_missing_processor(nt: Kernel) -> None:
    """There is no KPRCB of that number: the kernel follows NULL, at HIGH_LEVEL (inferred)."""
    nt.il.current.cr8 = HIGH_LEVEL
    nt.mmu.read(_DATA, 8)


def _link(nt: Kernel, data: Any, entry: int, first: bool) -> None:
    v = data._v
    head = v.DpcList_ListHead_Next
    if not head:
        nt.write_pointer(entry, 0)
        v.DpcList_ListHead_Next = v.DpcList_LastEntry = entry
    elif first:
        nt.write_pointer(entry, head)
        v.DpcList_ListHead_Next = entry
    else:
        nt.write_pointer(v.DpcList_LastEntry, entry)
        nt.write_pointer(entry, 0)
        v.DpcList_LastEntry = entry
    v.DpcQueueDepth += 1
    v.DpcCount += 1


def _unlink_first(nt: Kernel, data: Any) -> Any:
    """The first queued DPC, None if the queue is empty."""
    v = data._v
    entry = v.DpcList_ListHead_Next
    if not entry:
        return None
    following = nt.read_pointer(entry)
    v.DpcList_ListHead_Next = following
    if not following:
        v.DpcList_LastEntry = 0
    v.DpcQueueDepth -= 1
    return KDPC.at(nt.mmu, entry - _ENTRY)


def _unlink(nt: Kernel, data: Any, entry: int) -> None:
    """Take one entry out of the middle of the list."""
    v = data._v
    previous, at = 0, v.DpcList_ListHead_Next
    while at != entry:
        previous, at = at, nt.read_pointer(at)
    following = nt.read_pointer(entry)
    if previous:
        nt.write_pointer(previous, following)
    else:
        v.DpcList_ListHead_Next = following
    if v.DpcList_LastEntry == entry:
        v.DpcList_LastEntry = previous
    v.DpcQueueDepth -= 1


def ki_retire_dpc_list(nt: Kernel, processor: Processor) -> None:
    """Run every queued DPC of this processor, at DISPATCH_LEVEL."""
    data = ki_dpc_data(nt, processor.number)
    if not data._v.DpcList_ListHead_Next:
        return
    prcb = nt.prcb[processor.number]._v
    old = processor.cr8
    processor.cr8 = DISPATCH_LEVEL
    prcb.DpcRoutineActive = 1
    while (dpc := _unlink_first(nt, data)) is not None:
        ki_execute_dpc(nt, processor, dpc, data)
    prcb.DpcRoutineActive = 0
    prcb.DpcTimeCount = 0
    processor.cr8 = old


def ki_execute_dpc(nt: Kernel, processor: Processor, dpc: Any, data: Any) -> None:
    """Call one DPC routine; it must come back at DISPATCH_LEVEL.

    Interrupts that it leaves off are on again before the next one, and after the last.
    """
    v = dpc._v
    routine, context = v.DeferredRoutine, v.DeferredContext
    argument1, argument2 = v.SystemArgument1, v.SystemArgument2
    v.DpcData = 0
    data._v.ActiveDpc = int(dpc)
    nt.prcb[processor.number]._v.DpcTimeCount = 0
    nt.emit(DpcStarted, int(dpc), nt.describe_address(routine))
    nt.call_for_no_thread(routine, dpc, context, argument1, argument2)
    data._v.ActiveDpc = 0
    nt.emit(DpcEnded, int(dpc))
    if processor.cr8 != DISPATCH_LEVEL:
        values = processor.cr8 << 16 | DISPATCH_LEVEL << 8 | 1
        nt.bugcheck(IRQL_UNEXPECTED_VALUE, values, 0, routine, 0)
    if not processor.interrupts_enabled:
        nt.interrupts_back_on(processor, "KiRetireDpcList, after the routine")


@export(irql="any")
def KeInitializeDpc(
    nt: Kernel, Dpc: PKDPC, DeferredRoutine: PKDEFERRED_ROUTINE, DeferredContext: PVOID
) -> None:
    """A DPC of medium importance, not targeted. Source: WDK KeInitializeDpc."""
    v = Dpc._v
    v.Type, v.Importance, v.Number = DPC_OBJECT, MEDIUM_IMPORTANCE, 0
    v.DeferredRoutine, v.DeferredContext = DeferredRoutine, DeferredContext
    v.DpcData = 0


@export(irql="any")
def KeInsertQueueDpc(
    nt: Kernel, Dpc: PKDPC, SystemArgument1: PVOID, SystemArgument2: PVOID
) -> BOOLEAN:
    """Queue the DPC; FALSE if it is queued already. Legal up to HIGH_LEVEL. Source: WDK."""
    return ki_insert_dpc(nt, Dpc, SystemArgument1, SystemArgument2)


@export(irql="any")
def KeRemoveQueueDpc(nt: Kernel, Dpc: PKDPC) -> BOOLEAN:
    """Take the DPC out of its queue; TRUE if it was queued. Source: WDK KeRemoveQueueDpc."""
    v = Dpc._v
    if not v.DpcData:
        return False
    _unlink(nt, KDPC_DATA.at(nt.mmu, v.DpcData), int(Dpc) + _ENTRY)
    v.DpcData = 0
    return True


@export(irql="== DISPATCH")
def KeIsExecutingDpc(nt: Kernel) -> ULONG:
    """Whether this processor runs DPCs at present. Source: ntddk.h KeIsExecutingDpc."""
    return int(nt.prcb[nt.il.current.number]._v.DpcRoutineActive)


@export(irql="any")
def KeSetImportanceDpc(nt: Kernel, Dpc: PKDPC, Importance: KDPC_IMPORTANCE) -> None:
    """High importance goes to the front of the queue. Source: WDK KeSetImportanceDpc."""
    Dpc._v.Importance = Importance


@export(irql="any")
def KeSetTargetProcessorDpc(nt: Kernel, Dpc: PKDPC, Number: CCHAR) -> None:
    """Queue to processor Number from now on. Source: WDK KeSetTargetProcessorDpc."""
    Dpc._v.Number = TARGETED + Number


@export(irql="any")
def KeSetTargetProcessorDpcEx(nt: Kernel, Dpc: PKDPC, ProcNumber: PPROCESSOR_NUMBER) -> ULONG:
    """As KeSetTargetProcessorDpc, checked: STATUS_INVALID_PARAMETER if there is none.

    Source: WDK.
    """
    number: int = ProcNumber.Number
    if ProcNumber.Group or number >= len(nt.processors):
        return 0xC000_000D
    Dpc._v.Number = TARGETED + number
    return 0


@export(irql="== PASSIVE")
def KeFlushQueuedDpcs(nt: Kernel) -> None:
    """Return when every DPC queued so far, on every processor, has run. Source: WDK."""
    while any(ki_dpc_data(nt, p.number)._v.DpcList_ListHead_Next for p in nt.processors):
        nt.il.spin()


# The block of a KeGenericCallDpc: how many DPCs are not done, a DEFERRED_REVERSE_BARRIER (Barrier:
# how many have not arrived, and in bit 31 which meeting it is; TotalProcessors), the DPCs
BARRIER, DPCS = 8, 0x20
MEETING = 1 << 31


def read_long(nt: Kernel, address: int) -> int:
    return int.from_bytes(nt.mmu.read(address, 4), "little")


def write_long(nt: Kernel, address: int, value: int) -> None:
    nt.mmu.write(address, value.to_bytes(4, "little"))


@export(irql="<= APC")
def KeGenericCallDpc(nt: Kernel, Routine: PKDEFERRED_ROUTINE, Context: PVOID) -> None:
    """Run Routine as a DPC on every active processor; returns when all have called Done.

    The routine gets SystemArgument1 for KeSignalCallDpcDone, a LONG that counts down from the
    number of processors, and SystemArgument2 for KeSignalCallDpcSynchronize, a
    DEFERRED_REVERSE_BARRIER. Source: Wine ntoskrnl tests test_dpc_func; Windows Internals 7, part
    2, chapter 8.
    """
    count = len(nt.processors)
    block = nt.allocate_pool(DPCS + KDPC.size * count, "Dpcs")
    for address in (block, block + BARRIER, block + BARRIER + 4):
        write_long(nt, address, count)
    old = set_irql(nt, DISPATCH_LEVEL, "KeGenericCallDpc")
    for processor in nt.processors:
        dpc = KDPC.at(nt.mmu, block + DPCS + KDPC.size * processor.number)
        KeInitializeDpc(nt, dpc, Routine, Context)
        KeSetTargetProcessorDpc(nt, dpc, processor.number)
        ki_insert_dpc(nt, dpc, block, block + BARRIER)
    set_irql(nt, old, "KeGenericCallDpc")
    while read_long(nt, block):
        nt.il.spin()
    nt.free_pool(block)


@export(irql="== DISPATCH")
def KeSignalCallDpcDone(nt: Kernel, SystemArgument1: PVOID) -> None:
    """This processor's part of KeGenericCallDpc is over. Source: ntifs.h."""
    count = int(SystemArgument1)
    write_long(nt, count, (read_long(nt, count) - 1) & 0xFFFFFFFF)


@export(irql="== DISPATCH")
def KeSignalCallDpcSynchronize(nt: Kernel, SystemArgument2: PVOID) -> LOGICAL:
    """Wait for all processors of KeGenericCallDpc; TRUE on exactly one of them.

    The last one fills the barrier again and turns its bit 31. Source: ntifs.h; Wine ntoskrnl tests
    test_dpc_func.
    """
    barrier = int(SystemArgument2)
    left = (read_long(nt, barrier) - 1) & 0xFFFFFFFF
    meeting = left & MEETING
    if left & ~MEETING == 0:
        write_long(nt, barrier, meeting ^ MEETING | read_long(nt, barrier + 4))
        return True
    write_long(nt, barrier, left)
    while read_long(nt, barrier) & MEETING == meeting:
        nt.il.spin()
    return False
