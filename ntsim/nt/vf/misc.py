"""Miscellaneous checks: memory that is freed, or a driver that goes, with something active inside.

Source: WDK "Miscellaneous Checks"; Bug Check 0xC7; Bug Check 0xC4, 0xCA to 0xCD, 0xD0 to 0xD2,
0x3F, 0xF0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ntsim.abi.ex import ERESOURCE
from ntsim.abi.ke import KDPC, KTIMER
from ntsim.nt.vf.hooks import after, before
from ntsim.nt.vf.notes import Moment, Note

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier

TIMER_OR_DPC_INVALID = 0xC7
ACTIVE_TIMER, QUEUED_DPC, DPC_ROUTINE = 0, 1, 2
SMALLEST_ENTRY = 8
LOOKASIDE_INITIALIZE = (
    "ExInitializeNPagedLookasideList ExInitializePagedLookasideList ExInitializeLookasideListEx"
)
LOOKASIDE_DELETE = "ExDeleteNPagedLookasideList ExDeletePagedLookasideList ExDeleteLookasideListEx"


@dataclass(slots=True)
class Active:
    """What verified drivers have initialized and not deleted, with where they did."""

    dpcs: dict[int, Moment] = field(default_factory=dict)
    resources: dict[int, Moment] = field(default_factory=dict)
    lookasides: dict[int, Moment] = field(default_factory=dict)


def active(vf: Verifier) -> Active:
    found: Active = vf.part(Active)
    return found


def first_in(table: dict[int, Any], start: int, end: int) -> int:
    """The first address of a table in a range; 0 if there is none."""
    return next((address for address in table if start <= address < end), 0)


@after("misc", "KeInitializeDpc KeInitializeThreadedDpc")
def dpc_made(vf: Verifier, result: Any, nt: Kernel, Dpc: Any, *rest: Any) -> None:
    active(vf).dpcs[int(Dpc)] = vf.place()


@before("misc", "ExInitializeResourceLite")
def vi_resource_again(vf: Verifier, nt: Kernel, Resource: Any) -> None:
    """0xD0: it is on the system's list of resources already."""
    made = active(vf).resources.get(int(Resource))
    if made is not None:
        why = f"The ERESOURCE at {int(Resource):#x} was initialized again without being deleted."
        vf.violation(0xD0, int(Resource), why=why, notes=[Note("It was initialized.", made)])
    active(vf).resources[int(Resource)] = vf.place()


@before("misc", "ExDeleteResourceLite")
def vi_resource_delete(vf: Verifier, nt: Kernel, Resource: Any) -> None:
    if active(vf).resources.pop(int(Resource), None) is None:
        why = f"The ERESOURCE at {int(Resource):#x} was deleted and is not initialized."
        vf.violation(0xD1, int(Resource), why=why)


@before("misc", LOOKASIDE_INITIALIZE)
def vi_lookaside_again(vf: Verifier, nt: Kernel, Lookaside: Any, *rest: Any) -> None:
    """0xCA: again; 0xCD: entries that cannot hold the list's link."""
    address = int(Lookaside)
    made = active(vf).lookasides.get(address)
    if made is not None:
        why = f"The lookaside list at {address:#x} was initialized again without being deleted."
        vf.violation(0xCA, address, why=why, notes=[Note("It was initialized.", made)])
    size = rest[4] if vf.routine.endswith("Ex") else rest[3]
    if size < SMALLEST_ENTRY:
        why = f"{vf.routine} was given entries of {size} bytes: {SMALLEST_ENTRY} at least."
        vf.violation(0xCD, address, size, SMALLEST_ENTRY, why=why)
    active(vf).lookasides[address] = vf.place()


@before("misc", LOOKASIDE_DELETE)
def vi_lookaside_delete(vf: Verifier, nt: Kernel, Lookaside: Any) -> None:
    if active(vf).lookasides.pop(int(Lookaside), None) is None:
        why = f"The lookaside list at {int(Lookaside):#x} was deleted and is not initialized."
        vf.violation(0xCB, int(Lookaside), why=why)


@before("misc", "ExFreePoolWithTag ExFreePool")
def vi_freed_with(vf: Verifier, nt: Kernel, P: int, *rest: Any) -> None:
    """A block is freed: nothing in it may be active."""
    size = vf.block_size(P)
    vi_check_memory(vf, nt, P, P + size, f"the block at {P:#x} that is freed")


def vi_check_memory(vf: Verifier, nt: Kernel, start: int, end: int, what: str) -> None:
    """0xC7/0, 1: timers and DPCs; 0xC4/0xD2, 0xCC: resources and lookaside lists."""
    state = active(vf)
    timer = first_in(nt.ke.timers.live, start, end)
    if timer:
        why = f"A timer at {timer:#x} is set and lies in {what}: cancel it first."
        vf.violation(ACTIVE_TIMER, timer, start, end, why=why, code=TIMER_OR_DPC_INVALID)
    for dpc in [each for each in state.dpcs if start <= each < end]:
        if KDPC.at(nt.mmu, dpc)._v.DpcData:
            why = f"A DPC at {dpc:#x} is queued and lies in {what}."
            notes = [Note("The DPC was initialized.", state.dpcs[dpc])]
            vf.violation(
                QUEUED_DPC, dpc, start, end, why=why, notes=notes, code=TIMER_OR_DPC_INVALID
            )
        del state.dpcs[dpc]
    resource = first_in(state.resources, start, end)
    if resource:
        why = f"The ERESOURCE at {resource:#x} lies in {what}: ExDeleteResourceLite first."
        notes = [Note("It was initialized.", state.resources[resource])]
        vf.violation(0xD2, resource, start, end - start, why=why, notes=notes)
    lookaside = first_in(state.lookasides, start, end)
    if lookaside:
        why = f"The lookaside list at {lookaside:#x} lies in {what}: delete it first."
        notes = [Note("It was initialized.", state.lookasides[lookaside])]
        vf.violation(0xCC, lookaside, start, end - start, why=why, notes=notes)


@before("misc", "IoDeleteDevice")
def vi_device_with(vf: Verifier, nt: Kernel, DeviceObject: Any) -> None:
    """A device that nobody has open is freed with its extension."""
    v = DeviceObject._v
    if not v.ReferenceCount:
        start = int(DeviceObject)
        vi_check_memory(vf, nt, start, start + v.Size, "the extension of a device that is deleted")


@before("misc", "DriverUnload")
def vi_unload_with(vf: Verifier, nt: Kernel, driver: Any) -> None:
    """0xC7/2: a timer or queued DPC will call a routine of the driver that is gone."""
    image = driver.image
    vi_check_memory(vf, nt, image.base, image.base + image.size, f"{image.file_name}'s image")
    state = active(vf)
    for dpc, made in list(state.dpcs.items()):
        v = KDPC.at(nt.mmu, dpc)._v
        if v.DeferredRoutine not in image:
            continue
        timer = next((t for t in nt.ke.timers.live if dpc_of(nt, t) == dpc), 0)
        if v.DpcData or timer:
            name = image.describe(v.DeferredRoutine)
            what = f"the timer {timer:#x} is set" if timer else f"the DPC {dpc:#x} is queued"
            why = f"{image.file_name} unloads while its DPC routine {name} is still to run: {what}."
            notes = [Note("The DPC was initialized.", made)]
            vf.violation(
                DPC_ROUTINE, v.DeferredRoutine, image.base, image.base + image.size, why=why,
                notes=notes, code=TIMER_OR_DPC_INVALID,
            )  # fmt: skip


def dpc_of(nt: Kernel, timer: int) -> int:
    """The DPC that an active timer queues."""
    return int(KTIMER.at(nt.mmu, timer)._v.Dpc)


@before("misc", "memcpy")
def vi_overlap(vf: Verifier, nt: Kernel, Destination: Any, Source: Any, Length: int) -> None:
    """0xF0: memcpy of overlapping buffers; memmove is for these."""
    to, source = int(Destination), int(Source)
    if Length and to < source + Length and source < to + Length:
        why = f"memcpy was given buffers that overlap: {Length} bytes from {source:#x} to {to:#x}."
        vf.violation(0xF0, to, source, Length, why=why)


@before("misc", "ExQueueWorkItem")
def vi_work_item(vf: Verifier, nt: Kernel, WorkItem: Any, QueueType: int) -> None:
    """0x131: the kernel touches a work item at DISPATCH_LEVEL."""
    address = int(WorkItem)
    special = vf.special.block_at(address) if vf.special is not None else None
    if address in nt.mm.paged or (special is not None and special.paged):
        why = f"ExQueueWorkItem was given a work item at {address:#x}, in paged pool."
        vf.violation(0x131, address, why=why)


@before("misc", "ObfReferenceObject ObReferenceObject ObfDereferenceObject ObDereferenceObject")
def vi_reference(vf: Verifier, nt: Kernel, Object: Any) -> None:
    """0x3F: the object's last reference is gone."""
    count = nt.ob.header(int(Object))._v.PointerCount
    if count <= 0:
        releases = "Dereference" in vf.routine
        why = f"{vf.routine} was given {int(Object):#x}, whose reference count is {count}."
        change = 0xFFFF_FFFF_FFFF_FFFF if releases else 1
        vf.violation(0x3F, int(Object), change, why=why)


assert ERESOURCE.size == 0x68
