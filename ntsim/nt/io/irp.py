"""IRP allocation, stack locations, and the inline routines of wdm.h that move between them.

An IRP is one block: the IRP, then StackCount stack locations. Freed blocks go to a look-aside list
per stack size, as on Windows; I/O verification takes them from special pool. Source: WDK "IRPs as
data structures"; Wine ntoskrnl tests
test_irp_struct.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from ntsim.abi import wdm_constants as c
from ntsim.abi.io import DEVICE_OBJECT, IO_STACK_LOCATION, IRP
from ntsim.abi.ps import ETHREAD
from ntsim.abi.scalars import (
    BOOLEAN,
    CCHAR,
    NTSTATUS,
    PDRIVER_CANCEL,
    PIO_COMPLETION_ROUTINE,
    PVOID,
    ULONG,
    USHORT,
)
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.exports import export
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT, PIO_STACK_LOCATION, PIRP
    from ntsim.nt.kernel import Kernel

IO_TYPE_IRP = 6
LOCATION = IO_STACK_LOCATION.size
IRP_SIZE = IRP.size
TAG = "Irp "
LOOKASIDE_DEPTH = 256
IRP_ALLOCATED_FIXED_SIZE, IRP_LOOKASIDE_ALLOCATION = 4, 8
THREAD_LIST_ENTRY = IRP.offset_of("ThreadListEntry")
IRP_LIST = ETHREAD.offset_of("IrpList")
_FRESH = struct.Struct("<HH28xQQ18xBB116xQ")
"""An IRP up to its last field that is not zero: Type, Size, ThreadListEntry, StackCount,
CurrentLocation, Tail.Overlay.CurrentStackLocation."""
assert _FRESH.size == IRP.offset_of("Tail.Overlay.CurrentStackLocation") + 8
ALL_INVOKE = c.SL_INVOKE_ON_SUCCESS | c.SL_INVOKE_ON_ERROR | c.SL_INVOKE_ON_CANCEL

_SYNONYMS = ("IRP_MJ_SCSI", "IRP_MJ_PNP_POWER", "IRP_MJ_MAXIMUM_FUNCTION")
MAJOR_NAMES = {
    value: name
    for name, value in vars(c).items()
    if name.startswith("IRP_MJ_") and name not in _SYNONYMS
}  # fmt: skip


def io_allocate_irp(nt: Kernel, stack_size: int) -> Any:
    """A zeroed, initialized IRP, or NULL.

    A negative size wraps to 16 bits, as in Windows: the IRP is shorter than its last location.
    """
    size = IRP_SIZE + stack_size * LOCATION & 0xFFFF
    free = nt.io.free_irps.get(stack_size)
    special = nt.ex.pool.special
    address = 0 if special is None else special.allocate_irp(size, TAG)
    if not address:
        address = free.pop() if free else nt.ex.pool.allocate(size, TAG)
    if address:
        memory, known = nt.mmu, nt.io.fresh_irps
        fresh = known.get(address)
        if fresh is None or len(fresh) != size:
            fresh = known[address] = io_fresh_irp(address, size, stack_size & 0xFF)
        at = memory.places[address]
        if at >= 0 and (address & 0xFFF) + size <= PAGE_SIZE:
            memory.bytes[at : at + size] = fresh
        else:
            memory.write(address, fresh)
    return nt.io.irps[address]


def io_fresh_irp(address: int, size: int, count: int) -> bytes:
    """The bytes of an initialized IRP at `address`, with `count` stack locations."""
    entry = address + THREAD_LIST_ENTRY
    fresh = _FRESH.pack(IO_TYPE_IRP, size, entry, entry, count, count + 1 & 0xFF, address + size)
    return fresh.ljust(size, b"\0")


def io_free_irp(nt: Kernel, irp: Any) -> None:
    """Give an IRP back to its look-aside list."""
    v = irp._v
    stack_size = v.StackCount
    v.Type = 0
    special = nt.ex.pool.special
    if special is not None and int(irp) in special:
        nt.io.fresh_irps.pop(int(irp), None)
        nt.free_pool(int(irp))
        return
    free = nt.io.free_irps.setdefault(stack_size, [])
    if len(free) < LOOKASIDE_DEPTH:
        free.append(int(irp))
    else:
        nt.io.fresh_irps.pop(int(irp), None)
        nt.free_pool(int(irp))


def io_current_location(nt: Kernel, irp: Any) -> Any:
    return IO_STACK_LOCATION.at(nt.mmu, irp._v.Tail_Overlay_CurrentStackLocation)


def io_next_view(nt: Kernel, irp: Any) -> Any:
    """The fields of the next-lower driver's location."""
    return nt.io.locations[irp._v.Tail_Overlay_CurrentStackLocation - LOCATION]


def io_next_location(nt: Kernel, irp: Any) -> Any:
    return IO_STACK_LOCATION.at(nt.mmu, irp._v.Tail_Overlay_CurrentStackLocation - LOCATION)


def irp_holder(nt: Kernel, address: int) -> int:
    """The driver object whose stack location is current in an IRP; 0 if it is with no driver."""
    irp = IRP.at(nt.mmu, address)._v
    if irp.CurrentLocation > irp.StackCount:
        return 0
    at = irp.Tail_Overlay_CurrentStackLocation
    device = IO_STACK_LOCATION.at(nt.mmu, at)._v.DeviceObject
    return int(DEVICE_OBJECT.at(nt.mmu, device)._v.DriverObject) if device else 0


def queue_to_thread(nt: Kernel, irp: Any) -> None:
    """Link the IRP into its thread's IrpList."""
    thread = nt.il.current.context.va
    irp._v.Tail_Overlay_Thread = thread
    lists.insert_head(nt.mmu, thread + IRP_LIST, int(irp) + THREAD_LIST_ENTRY)


def dequeue_from_thread(nt: Kernel, irp: Any) -> None:
    """Unlink the IRP; its list entry is an empty list then."""
    memory, entry = nt.mmu, int(irp) + THREAD_LIST_ENTRY
    lists.remove(memory, entry)
    at = memory.pairs[entry]
    if at >= 0:
        memory.words[at] = memory.words[at + 1] = entry
    else:
        lists.initialize(memory, entry)


@export(irql="<= DISPATCH")
def IoAllocateIrp(nt: Kernel, StackSize: CCHAR, ChargeQuota: BOOLEAN) -> PIRP:
    """An IRP with StackSize locations; NULL if memory is short.

    AllocationFlags says that it is of a fixed size, as those from look-aside lists are, and whether
    it is one of those that the processor's list lends to who charges quota. Source: WDK
    IoAllocateIrp; kmtests IoIrp.c; Wine ntoskrnl tests test_irp_struct.
    """
    irp = io_allocate_irp(nt, StackSize)
    if irp:
        charged = IRP_LOOKASIDE_ALLOCATION if ChargeQuota else 0
        irp._v.AllocationFlags = IRP_ALLOCATED_FIXED_SIZE | charged
    return irp  # type: ignore[no-any-return]


@export(irql="<= DISPATCH")
def IoFreeIrp(nt: Kernel, Irp: PIRP) -> None:
    """Free an IRP that a driver allocated. Source: WDK IoFreeIrp."""
    io_free_irp(nt, Irp)


@export(irql="any")
def IoInitializeIrp(nt: Kernel, Irp: PIRP, PacketSize: USHORT, StackSize: CCHAR) -> None:
    """Initialize an IRP in the caller's memory. Source: WDK IoInitializeIrp."""
    nt.mmu.write(int(Irp), bytes(PacketSize))
    v = Irp._v
    v.Type, v.Size, v.StackCount, v.CurrentLocation = (
        IO_TYPE_IRP,
        PacketSize,
        StackSize,
        StackSize + 1,
    )
    v.Tail_Overlay_CurrentStackLocation = int(Irp) + IRP_SIZE + StackSize * LOCATION
    lists.initialize(nt.mmu, int(Irp) + THREAD_LIST_ENTRY)


@export(irql="<= DISPATCH")
def IoReuseIrp(nt: Kernel, Irp: PIRP, Iostatus: NTSTATUS) -> None:
    """Initialize again, keeping AllocationFlags. Source: WDK IoReuseIrp; Wine test_irp_struct."""
    v = Irp._v
    flags, size, count = v.AllocationFlags, v.Size, v.StackCount
    IoInitializeIrp(nt, Irp, size, count)
    v.AllocationFlags = flags
    v.IoStatus_Status = Iostatus


@export(irql="any", inline=True)
def IoSizeOfIrp(nt: Kernel, StackSize: CCHAR) -> USHORT:
    """Bytes of an IRP with its locations. Source: wdm.h."""
    return IRP_SIZE + StackSize * LOCATION


@export(irql="<= DISPATCH", inline=True)
def IoGetCurrentIrpStackLocation(nt: Kernel, Irp: PIRP) -> PIO_STACK_LOCATION:
    """The caller's stack location. Source: WDK IoGetCurrentIrpStackLocation."""
    return IO_STACK_LOCATION.at(nt.mmu, Irp._v.Tail_Overlay_CurrentStackLocation)  # type: ignore[no-any-return]


@export(irql="<= DISPATCH", inline=True)
def IoGetNextIrpStackLocation(nt: Kernel, Irp: PIRP) -> PIO_STACK_LOCATION:
    """The next-lower driver's location. Source: WDK IoGetNextIrpStackLocation."""
    return io_next_location(nt, Irp)  # type: ignore[no-any-return]


@export(irql="<= DISPATCH", inline=True)
def IoSetNextIrpStackLocation(nt: Kernel, Irp: PIRP) -> None:
    """Make the next location the current one. Source: WDK IoSetNextIrpStackLocation."""
    v = Irp._v
    v.CurrentLocation -= 1
    v.Tail_Overlay_CurrentStackLocation -= LOCATION


@export(irql="<= DISPATCH", inline=True)
def IoSkipCurrentIrpStackLocation(nt: Kernel, Irp: PIRP) -> None:
    """Let the next driver use this location. Source: WDK IoSkipCurrentIrpStackLocation."""
    v = Irp._v
    v.CurrentLocation += 1
    v.Tail_Overlay_CurrentStackLocation += LOCATION


@export(irql="<= DISPATCH", inline=True)
def IoCopyCurrentIrpStackLocationToNext(nt: Kernel, Irp: PIRP) -> None:
    """Copy this location, without its completion routine, to the next. Source: wdm.h."""
    current = Irp._v.Tail_Overlay_CurrentStackLocation
    data = nt.mmu.read(current, IO_STACK_LOCATION.offset_of("CompletionRoutine"))
    nt.mmu.write(current - LOCATION, data)
    io_next_location(nt, Irp)._v.Control = 0


@export(irql="<= DISPATCH", inline=True)
def IoMarkIrpPending(nt: Kernel, Irp: PIRP) -> None:
    """Set SL_PENDING_RETURNED in the current location. Source: WDK IoMarkIrpPending."""
    io_current_location(nt, Irp)._v.Control |= c.SL_PENDING_RETURNED


@export(irql="<= DISPATCH", inline=True)
def IoSetCompletionRoutine(
    nt: Kernel,
    Irp: PIRP,
    CompletionRoutine: PIO_COMPLETION_ROUTINE,
    Context: PVOID,
    InvokeOnSuccess: BOOLEAN,
    InvokeOnError: BOOLEAN,
    InvokeOnCancel: BOOLEAN,
) -> None:
    """Register a completion routine in the next location. Source: WDK IoSetCompletionRoutine."""
    v = io_next_location(nt, Irp)._v
    v.CompletionRoutine, v.Context = CompletionRoutine, int(Context)
    v.Control = (
        (c.SL_INVOKE_ON_SUCCESS if InvokeOnSuccess else 0)
        | (c.SL_INVOKE_ON_ERROR if InvokeOnError else 0)
        | (c.SL_INVOKE_ON_CANCEL if InvokeOnCancel else 0)
    )


@export(irql="<= APC")
def IoSetCompletionRoutineEx(
    nt: Kernel,
    DeviceObject: PDEVICE_OBJECT,
    Irp: PIRP,
    CompletionRoutine: PIO_COMPLETION_ROUTINE,
    Context: PVOID,
    InvokeOnSuccess: BOOLEAN,
    InvokeOnError: BOOLEAN,
    InvokeOnCancel: BOOLEAN,
) -> NTSTATUS:
    """As IoSetCompletionRoutine; the driver stays loaded until it has run. Source: WDK."""
    IoSetCompletionRoutine(
        nt, Irp, CompletionRoutine, Context, InvokeOnSuccess, InvokeOnError, InvokeOnCancel
    )
    return 0


@export(irql="<= DISPATCH", inline=True)
def IoSetCancelRoutine(nt: Kernel, Irp: PIRP, CancelRoutine: PDRIVER_CANCEL) -> PDRIVER_CANCEL:
    """Exchange the cancel routine atomically; the old one. Source: WDK IoSetCancelRoutine."""
    old: int = Irp._v.CancelRoutine
    Irp._v.CancelRoutine = CancelRoutine
    return old


@export(irql="any")
def IoGetRequestorMode(nt: Kernel, Irp: PIRP) -> ULONG:
    """KernelMode (0) or UserMode (1). Source: WDK IoGetRequestorMode."""
    return int(Irp._v.RequestorMode)
