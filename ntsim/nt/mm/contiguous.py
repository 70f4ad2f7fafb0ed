"""Contiguous memory and address translation.

MmGetVirtualForPhysical answers from the page's own system mapping, which the memory manager keeps
for the frames it has mapped once. Source: WDK MmAllocateContiguousMemory*, MmGetPhysicalAddress.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import bugcodes
from ntsim.abi import wdm_constants as c
from ntsim.abi.large_integer import LargeIntegerValue
from ntsim.abi.scalars import LONGLONG, MEMORY_CACHING_TYPE, PVOID, SIZE_T, ULONG
from ntsim.hw.paging import PTE_NX, PTE_WRITE
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.exports import export
from ntsim.nt.mm.frames import OutOfFrames
from ntsim.nt.mm.system_space import VALID

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

    PHYSICAL_ADDRESS = LONGLONG

MAXIMUM = (1 << 64) - 1
PHYSICAL_END = 1 << 39
"""The processor's physical addresses have 39 bits."""
PAGE_TABLE_ENTRIES, _TABLES_ABOVE = 512, 4
"""A mapping needs a page table for each so many pages, and at most these beside them."""
MAPPABLE = {
    c.PAGE_READONLY: (False, False), c.PAGE_READWRITE: (True, False),
    c.PAGE_EXECUTE: (False, True), c.PAGE_EXECUTE_READ: (False, True),
    c.PAGE_EXECUTE_READWRITE: (True, True),
}  # fmt: skip
"""(writable, executable) by page protection."""


def mi_allocate_contiguous(
    nt: Kernel, size: int, lowest: int, highest: int, boundary: int, executable: bool = False
) -> int:
    """Address of `size` bytes in consecutive frames, not zeroed; 0 if there are none."""
    mm = nt.mm
    pages = max(1, -(-size // PAGE_SIZE))
    pa = mm.frames.take_run(pages, lowest, highest, boundary)
    if pa is None:
        return 0
    va = mm.system_ptes.reserve(pages)
    mm.system.map(va, range(pa, pa + pages * PAGE_SIZE, PAGE_SIZE), executable=executable)
    mm.mmu.map_raw(va, mm.ram.address + pa, range(pa, pa + pages * PAGE_SIZE, PAGE_SIZE))
    mm.contiguous[va] = pages
    return va


@export(irql="<= APC")
def MmAllocateContiguousMemory(
    nt: Kernel, NumberOfBytes: SIZE_T, HighestAcceptableAddress: PHYSICAL_ADDRESS
) -> PVOID:
    """Physically contiguous, page-aligned, uninitialised; NULL if there is none. Source: WDK."""
    highest = nt.quad_part(HighestAcceptableAddress) & MAXIMUM
    return mi_allocate_contiguous(nt, NumberOfBytes, 0, highest, 0, True)


@export(irql="<= DISPATCH")
def MmAllocateContiguousMemorySpecifyCache(
    nt: Kernel,
    NumberOfBytes: SIZE_T,
    LowestAcceptableAddress: PHYSICAL_ADDRESS,
    HighestAcceptableAddress: PHYSICAL_ADDRESS,
    BoundaryAddressMultiple: PHYSICAL_ADDRESS,
    CacheType: MEMORY_CACHING_TYPE,
) -> PVOID:
    """As MmAllocateContiguousMemory with a range and a boundary not to cross. Source: WDK."""
    lowest = nt.quad_part(LowestAcceptableAddress) & MAXIMUM
    highest = nt.quad_part(HighestAcceptableAddress) & MAXIMUM
    boundary = nt.quad_part(BoundaryAddressMultiple)
    return mi_allocate_contiguous(nt, NumberOfBytes, lowest, highest, boundary, True)


@export(irql="<= DISPATCH")
def MmAllocateContiguousNodeMemory(
    nt: Kernel,
    NumberOfBytes: SIZE_T,
    LowestAcceptableAddress: PHYSICAL_ADDRESS,
    HighestAcceptableAddress: PHYSICAL_ADDRESS,
    BoundaryAddressMultiple: PHYSICAL_ADDRESS,
    Protect: ULONG,
    PreferredNode: ULONG,
) -> PVOID:
    """As MmAllocateContiguousMemorySpecifyCache; executable by Protect. Source: WDK."""
    lowest = nt.quad_part(LowestAcceptableAddress) & MAXIMUM
    highest = nt.quad_part(HighestAcceptableAddress) & MAXIMUM
    boundary = nt.quad_part(BoundaryAddressMultiple)
    return mi_allocate_contiguous(
        nt, NumberOfBytes, lowest, highest, boundary, bool(Protect & 0xF0)
    )


@export(irql="<= DISPATCH")
def MmFreeContiguousMemory(nt: Kernel, BaseAddress: PVOID) -> None:
    """Free contiguous memory; any other address (a physical one, say) stops with 0xC2/0x46."""
    mm = nt.mm
    va = int(BaseAddress)
    pages = mm.contiguous.pop(va, None)
    if pages is None:
        nt.bugcheck(bugcodes.BAD_POOL_CALLER, 0x46, va, 0, 0)
    pa = mm.tables.read(mm.system_root, va) & 0x000F_FFFF_FFFF_F000
    mm.system.unmap(va, pages)
    mm.system_ptes.release(va, pages)
    mm.frames.give_run(pa, pages)


@export(irql="<= DISPATCH")
def MmFreeContiguousMemorySpecifyCache(
    nt: Kernel, BaseAddress: PVOID, NumberOfBytes: SIZE_T, CacheType: MEMORY_CACHING_TYPE
) -> None:
    """As MmFreeContiguousMemory. Source: WDK."""
    MmFreeContiguousMemory(nt, BaseAddress)


@export(irql="any")
def MmGetPhysicalAddress(nt: Kernel, BaseAddress: PVOID) -> PHYSICAL_ADDRESS:
    """Physical address of a resident byte, 0 if it is not: an int with a QuadPart, as in C."""
    if nt.mm.open_bus:
        beyond = _open_bus_address(nt, int(BaseAddress))
        if beyond is not None:
            return LargeIntegerValue(beyond)
    return LargeIntegerValue(nt.mmu.physical(int(BaseAddress)) or 0)


@export(irql="any")
def MmGetVirtualForPhysical(nt: Kernel, PhysicalAddress: PHYSICAL_ADDRESS) -> PVOID:
    """The system address whose mapping the memory manager recorded for the frame; 0 if none.

    That of a page table lies in the self-map of its address space.
    """
    pa = nt.quad_part(PhysicalAddress)
    va = nt.mm.pfn.address_of(pa)
    return va | (pa & 0xFFF) if va else 0


@export(irql="<= DISPATCH")
def MmMapIoSpace(
    nt: Kernel,
    PhysicalAddress: PHYSICAL_ADDRESS,
    NumberOfBytes: SIZE_T,
    CacheType: MEMORY_CACHING_TYPE,
) -> PVOID:
    """Map a physical range into system space; NULL if it has no bytes, ends beyond the processor's
    physical addresses, or system space is exhausted.

    Beyond RAM no device of this machine answers: what is read there is all ones. What a driver
    writes there is kept in one page for the whole mapping, where a bus would drop it. Source: WDK
    MmMapIoSpace.
    """
    pa = nt.quad_part(PhysicalAddress) & MAXIMUM
    mm = nt.mm
    first = pa & ~0xFFF
    pages = ((pa & 0xFFF) + NumberOfBytes + 0xFFF) >> 12
    if not pages or first + pages * PAGE_SIZE > PHYSICAL_END:
        return 0
    try:
        va = mm.system_ptes.reserve(pages)
    except OutOfFrames:
        return 0
    if mm.frames.available <= pages // PAGE_TABLE_ENTRIES + _TABLES_ABOVE:
        mm.system_ptes.release(va, pages)
        return 0
    if first + pages * PAGE_SIZE > mm.ram.size:
        return _map_open_bus(nt, va, first, pages) | (pa & 0xFFF)
    mm.io_space[va] = pages
    for i in range(pages):
        entry = (first + i * PAGE_SIZE) | VALID | PTE_NX
        mm.mmu.write_entry(mm.system_root, va + i * PAGE_SIZE, entry)
    frames = range(first, first + pages * PAGE_SIZE, PAGE_SIZE)
    mm.mmu.map_raw(va, mm.ram.address + first, frames)
    return va | (pa & 0xFFF)


def _map_open_bus(nt: Kernel, va: int, first: int, pages: int) -> int:
    """Map addresses behind which nothing answers; 0 without memory for it."""
    mm = nt.mm
    try:
        frame = mm.frames.take()
    except OutOfFrames:
        mm.system_ptes.release(va, pages)
        return 0
    mm.ram.write(frame, b"\xff" * PAGE_SIZE)
    mm.io_space[va] = pages
    mm.open_bus[va >> 12] = first, pages, frame
    for page in range(pages):
        pa = first + page * PAGE_SIZE
        entry = (pa if pa < mm.ram.size else frame) | VALID | PTE_NX
        mm.mmu.write_entry(mm.system_root, va + page * PAGE_SIZE, entry)
    return va


def _open_bus_address(nt: Kernel, va: int) -> int | None:
    """The physical address of a place that a mapping beyond RAM covers."""
    for start, (first, pages, _) in nt.mm.open_bus.items():
        if 0 <= va - (start << 12) < pages * PAGE_SIZE:
            return first + va - (start << 12)
    return None


@export(irql="<= DISPATCH")
def MmMapIoSpaceEx(
    nt: Kernel, PhysicalAddress: PHYSICAL_ADDRESS, NumberOfBytes: SIZE_T, Protect: ULONG
) -> PVOID:
    """MmMapIoSpace with a page protection; NULL for one that is none or has a wrong combination.

    Read-only and executable protections are honoured. Source: WDK MmMapIoSpaceEx.
    """
    kind = Protect & 0xFF
    both = c.PAGE_NOCACHE | c.PAGE_WRITECOMBINE
    if kind not in MAPPABLE or Protect & ~(0xFF | both) or Protect & both == both:
        return 0
    va = MmMapIoSpace(nt, PhysicalAddress, NumberOfBytes, 0)
    start = int(va) & ~0xFFF
    pages = nt.mm.io_space.get(start, 0) if va else 0
    if pages and kind != c.PAGE_READWRITE:
        writable, executable = MAPPABLE[kind]
        nt.mmu.unmap_raw(start, pages)
        for page in range(start, start + pages * PAGE_SIZE, PAGE_SIZE):
            entry = nt.mm.tables.read(nt.mm.system_root, page) & ~(PTE_WRITE | PTE_NX)
            entry |= (PTE_WRITE if writable else 0) | (0 if executable else PTE_NX)
            nt.mmu.write_entry(nt.mm.system_root, page, entry)
    return va


@export(irql="<= DISPATCH")
def MmUnmapIoSpace(nt: Kernel, BaseAddress: PVOID, NumberOfBytes: SIZE_T) -> None:
    """Undo MmMapIoSpace; what was not mapped so stops with 0xDA/0x400.

    Source: WDK MmUnmapIoSpace; bug check 0xDA reference.
    """
    mm = nt.mm
    va = int(BaseAddress) & ~0xFFF
    pages = ((int(BaseAddress) & 0xFFF) + NumberOfBytes + 0xFFF) >> 12
    if mm.io_space.pop(va, None) != pages:
        nt.bugcheck(bugcodes.SYSTEM_PTE_MISUSE, 0x400, va, pages, 0)
    nothing = mm.open_bus.pop(va >> 12, None)
    if nothing is not None:
        mm.frames.give(nothing[2])
    mm.system.unmap(va, pages)
    mm.system_ptes.release(va, pages)
