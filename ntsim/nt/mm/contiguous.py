"""Contiguous memory and address translation.

MmGetVirtualForPhysical answers from the page's own system mapping, which the memory manager keeps
for the frames it has mapped once. Source: WDK MmAllocateContiguousMemory*, MmGetPhysicalAddress.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import bugcodes
from ntsim.abi.large_integer import LargeIntegerValue
from ntsim.abi.scalars import LONGLONG, MEMORY_CACHING_TYPE, PVOID, SIZE_T, ULONG
from ntsim.hw.paging import PTE_NX
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.exports import export
from ntsim.nt.mm.system_space import VALID

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

    PHYSICAL_ADDRESS = LONGLONG

MAXIMUM = (1 << 64) - 1


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
    """Map a physical range into system space; NULL beyond RAM. Source: WDK MmMapIoSpace."""
    pa = nt.quad_part(PhysicalAddress) & MAXIMUM
    mm = nt.mm
    first = pa & ~0xFFF
    pages = ((pa & 0xFFF) + NumberOfBytes + 0xFFF) >> 12
    if not pages or first + pages * PAGE_SIZE > mm.ram.size:
        return 0
    va = mm.system_ptes.reserve(pages)
    mm.io_space[va] = pages
    for i in range(pages):
        entry = (first + i * PAGE_SIZE) | VALID | PTE_NX
        mm.mmu.write_entry(mm.system_root, va + i * PAGE_SIZE, entry)
        mm.system.opened(first + i * PAGE_SIZE, va + i * PAGE_SIZE)
    frames = range(first, first + pages * PAGE_SIZE, PAGE_SIZE)
    mm.mmu.map_raw(va, mm.ram.address + first, frames)
    return va | (pa & 0xFFF)


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
    mm.system.unmap(va, pages)
    mm.system_ptes.release(va, pages)
