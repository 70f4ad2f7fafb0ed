"""Callbacks at a bug check: KeRegisterBugCheckCallback, KeRegisterBugCheckReasonCallback.

They run on the processor that stopped, at HIGH_LEVEL, while the others stand still: first those
that add secondary data to a dump, then the plain ones, the last registered first. A callback that
faults ends the procession, since nothing handles a bug check inside a bug check. Callbacks for the
writing of a dump file (KbCallbackDumpIo, KbCallbackAddPages, KbCallbackTriageDumpData and their
like) are kept and not called: no dump file is written at that moment.

Source: WDK KeRegisterBugCheckCallback, KeRegisterBugCheckReasonCallback, "Writing a Bug Check
Reason Callback Routine"; wdm.h; ReactOS ntoskrnl/ke/bug.c (checksums, states, order).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntsim.abi import wdm_constants as c
from ntsim.abi.callbacks import (
    KBUGCHECK_CALLBACK_RECORD,
    KBUGCHECK_REASON_CALLBACK_RECORD,
    KBUGCHECK_SECONDARY_DUMP_DATA,
)
from ntsim.abi.scalars import BOOLEAN, PVOID, ULONG
from ntsim.nt.events import BugCheckCallbackCalled
from ntsim.nt.exports import export
from ntsim.nt.mm.variables import mi_variable
from ntsim.nt.rtl import lists
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.abi.callbacks import (
        PKBUGCHECK_CALLBACK_RECORD,
        PKBUGCHECK_REASON_CALLBACK_RECORD,
    )
    from ntsim.nt.kernel import Kernel

PLAIN, REASON = "KeBugCheckCallbackListHead", "KeBugCheckReasonCallbackListHead"
SECONDARY_SIZE = 0x4000
"""Bytes that a callback may use of the buffer it is offered, and may add to the dump."""

_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class SecondaryData:
    """What a callback gave for the dump: its GUID, as bytes, and the data."""

    component: str
    guid: bytes
    data: bytes


def ki_list_head(nt: Kernel, name: str) -> int:
    """A list of records, made when it is first needed."""
    head = mi_variable(nt, name, 16)
    if not nt.read_pointer(head):
        lists.initialize(nt.mmu, head)
    return head


def ki_records(nt: Kernel, name: str) -> list[int]:
    """The addresses of the records of a list."""
    if nt.nt_image.find_named(name) is None:
        return []
    return lists.entries(nt.mmu, mi_variable(nt, name, 16))


def ki_register(nt: Kernel, record: Any, name: str, checksum: int) -> bool:
    """Link a record that is free; False if it is registered already."""
    v = record._v
    if v.State != c.BufferEmpty:
        return False
    v.Checksum, v.State = checksum & _MASK, c.BufferInserted
    lists.insert_head(nt.mmu, ki_list_head(nt, name), int(record))
    return True


def ki_deregister(nt: Kernel, record: Any) -> bool:
    """Unlink a record; False if it is not registered."""
    v = record._v
    if v.State != c.BufferInserted:
        return False
    v.State = c.BufferEmpty
    lists.remove(nt.mmu, int(record))
    return True


def ki_component(nt: Kernel, address: int) -> str:
    """The name that a record's owner gave, as far as it can be read."""
    try:
        return nt.mmu.read(address, 32).split(b"\0")[0].decode("latin-1")
    except StructuredException:
        return "?"


def ki_scan_callbacks(nt: Kernel) -> list[SecondaryData]:
    """Call every callback; the processor is at HIGH_LEVEL and the others are frozen."""
    found: list[SecondaryData] = []
    for entry in ki_records(nt, REASON):
        record = KBUGCHECK_REASON_CALLBACK_RECORD.at(nt.mmu, entry)
        v = record._v
        good = v.CallbackRoutine + v.Reason + v.Component & _MASK == v.Checksum
        if good and v.State == c.BufferInserted and v.Reason == c.KbCallbackSecondaryDumpData:
            component = ki_component(nt, v.Component)
            found += ki_secondary_data(nt, record, component)
    for entry in ki_records(nt, PLAIN):
        v = KBUGCHECK_CALLBACK_RECORD.at(nt.mmu, entry)._v
        checksum = v.CallbackRoutine + v.Buffer + v.Length + v.Component & _MASK
        if checksum == v.Checksum and v.State == c.BufferInserted:
            v.State = c.BufferStarted
            ki_call(nt, v, ki_component(nt, v.Component), v.Buffer, v.Length)
    return found


def ki_call(nt: Kernel, v: Any, component: str, *arguments: int) -> None:
    """Call one routine; an exception that it lets pass leaves its record incomplete."""
    nt.emit(BugCheckCallbackCalled, component, nt.describe_address(v.CallbackRoutine))
    try:
        nt.call(v.CallbackRoutine, *arguments)
        v.State = c.BufferFinished
    except StructuredException:
        v.State = c.BufferIncomplete


def ki_secondary_data(nt: Kernel, record: Any, component: str) -> list[SecondaryData]:
    """Ask a callback for data to add to the dump."""
    v = record._v
    buffer = nt.ke.secondary_buffer
    block = buffer + SECONDARY_SIZE
    nt.mmu.write(block, bytes(KBUGCHECK_SECONDARY_DUMP_DATA.size))
    data = KBUGCHECK_SECONDARY_DUMP_DATA.at(nt.mmu, block)._v
    data.InBuffer, data.InBufferLength, data.MaximumAllowed = (
        buffer, SECONDARY_SIZE, SECONDARY_SIZE,
    )  # fmt: skip
    v.State = c.BufferStarted
    ki_call(nt, v, component, v.Reason, int(record), block, KBUGCHECK_SECONDARY_DUMP_DATA.size)
    length = min(data.OutBufferLength, SECONDARY_SIZE)
    if v.State != c.BufferFinished or not data.OutBuffer or not length:
        return []
    try:
        content = nt.mmu.read(data.OutBuffer, length)
    except StructuredException:
        return []
    guid = nt.mmu.read(block + KBUGCHECK_SECONDARY_DUMP_DATA.offset_of("Guid"), 16)
    return [SecondaryData(component, guid, content)]


@export(irql="any", inline=True)
def KeInitializeCallbackRecord(nt: Kernel, CallbackRecord: PKBUGCHECK_CALLBACK_RECORD) -> None:
    """The record is free: a macro of wdm.h, also for reason records."""
    record: Any = CallbackRecord
    record._v.State = c.BufferEmpty


@export(irql="any")
def KeRegisterBugCheckCallback(
    nt: Kernel,
    CallbackRecord: PKBUGCHECK_CALLBACK_RECORD,
    CallbackRoutine: PVOID,
    Buffer: PVOID,
    Length: ULONG,
    Component: PVOID,
) -> BOOLEAN:
    """Have a routine called when the system stops; FALSE if the record is in use.

    The record and the buffer must be resident. Source: WDK KeRegisterBugCheckCallback.
    """
    v = CallbackRecord._v
    if v.State != c.BufferEmpty:
        return False
    v.CallbackRoutine, v.Buffer, v.Length, v.Component = CallbackRoutine, Buffer, Length, Component
    return ki_register(nt, CallbackRecord, PLAIN, CallbackRoutine + Buffer + Length + Component)


@export(irql="any")
def KeDeregisterBugCheckCallback(nt: Kernel, CallbackRecord: PKBUGCHECK_CALLBACK_RECORD) -> BOOLEAN:
    """Undo it; FALSE if it is not registered. Source: WDK KeDeregisterBugCheckCallback."""
    return ki_deregister(nt, CallbackRecord)


@export(irql="any")
def KeRegisterBugCheckReasonCallback(
    nt: Kernel,
    CallbackRecord: PKBUGCHECK_REASON_CALLBACK_RECORD,
    CallbackRoutine: PVOID,
    Reason: ULONG,
    Component: PVOID,
) -> BOOLEAN:
    """Have a routine called while the system stops, for a reason; FALSE if the record is in use.

    Source: WDK KeRegisterBugCheckReasonCallback.
    """
    v = CallbackRecord._v
    if v.State != c.BufferEmpty:
        return False
    v.CallbackRoutine, v.Reason, v.Component = CallbackRoutine, Reason, Component
    if not nt.ke.secondary_buffer:
        size = SECONDARY_SIZE + KBUGCHECK_SECONDARY_DUMP_DATA.size
        nt.ke.secondary_buffer = nt.ex.pool.allocate(size, "KeBc")
    return ki_register(nt, CallbackRecord, REASON, CallbackRoutine + Reason + Component)


@export(irql="any")
def KeDeregisterBugCheckReasonCallback(
    nt: Kernel, CallbackRecord: PKBUGCHECK_REASON_CALLBACK_RECORD
) -> BOOLEAN:
    """Undo it; FALSE if it is not registered. Source: WDK KeDeregisterBugCheckReasonCallback."""
    return ki_deregister(nt, CallbackRecord)
