"""Entries of drivers for the system's event log.

An entry that is written goes to the port of the event log's service; nobody listens here, so it
ends as the event ErrorLogged and its memory is freed. Source: WDK IoAllocateErrorLogEntry,
IoWriteErrorLogEntry, IoFreeErrorLogEntry; ntddk.h IO_ERROR_LOG_PACKET; ReactOS
ntoskrnl/io/iomgr/error.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import PVOID, UCHAR
from ntsim.nt.events import ErrorLogged
from ntsim.nt.exports import export
from ntsim.nt.ob.entries import obp_name

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

PACKET, LARGEST = 0x30, 0xF0
"""sizeof(IO_ERROR_LOG_PACKET) and ERROR_LOG_MAXIMUM_SIZE."""
HEADER = 0x20
"""Before the packet: size of the entry, and the object, which is referenced."""
_OBJECT = 8
_ERROR_CODE = 0x0C
_DEVICE_TYPE, _DRIVER_TYPE = 3, 4


@export(irql="<= DISPATCH")
def IoAllocateErrorLogEntry(nt: Kernel, IoObject: PVOID, EntrySize: UCHAR) -> PVOID:
    """A zeroed packet of EntrySize bytes for a device or driver object.

    NULL for less than IO_ERROR_LOG_PACKET or more than ERROR_LOG_MAXIMUM_SIZE, another object, or
    no memory.
    """
    if not IoObject or not PACKET <= EntrySize <= LARGEST:
        return 0
    if int.from_bytes(nt.mmu.read(int(IoObject), 2), "little") not in (_DEVICE_TYPE, _DRIVER_TYPE):
        return 0
    block = nt.allocate_pool(HEADER + EntrySize, "IoEr")
    if not block:
        return 0
    nt.ob.reference(int(IoObject))
    nt.mmu.write(block, bytes(HEADER + EntrySize))
    nt.mmu.write_word(block, EntrySize)
    nt.mmu.write_word(block + _OBJECT, int(IoObject))
    return block + HEADER


@export(irql="<= DISPATCH")
def IoWriteErrorLogEntry(nt: Kernel, ElEntry: PVOID) -> None:
    """Log the packet, which belongs to the system then."""
    block = int(ElEntry) - HEADER
    size, body = nt.mmu.read_word(block), nt.mmu.read_word(block + _OBJECT)
    code = int.from_bytes(nt.mmu.read(int(ElEntry) + _ERROR_CODE, 4), "little")
    nt.emit_at(ErrorLogged, obp_name(nt, body) or f"{body:#x}", ntstatus.status_name(code), size)
    IoFreeErrorLogEntry(nt, ElEntry)


@export(irql="<= DISPATCH")
def IoFreeErrorLogEntry(nt: Kernel, ElEntry: PVOID) -> None:
    """Give back a packet that is not to be logged."""
    block = int(ElEntry) - HEADER
    nt.ob.dereference(nt.mmu.read_word(block + _OBJECT))
    nt.free_pool(block)
