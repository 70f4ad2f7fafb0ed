"""Reserved mapping addresses, and memory that no cache holds.

A driver that must be able to map an MDL when memory is short reserves the addresses beforehand.
Source: WDK MmAllocateMappingAddress, MmMapLockedPagesWithReservedMapping,
MmAllocateNonCachedMemory; bug check 0xDA reference for misuse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import bugcodes
from ntsim.abi import wdm_constants as c
from ntsim.abi.scalars import MEMORY_CACHING_TYPE, PVOID, SIZE_T, ULONG
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.exports import export
from ntsim.nt.mm.frames import OutOfFrames
from ntsim.nt.mm.mdl import mdl_frames, mdl_pages

if TYPE_CHECKING:
    from ntsim.abi.mm import PMDL
    from ntsim.nt.kernel import Kernel

FREE_WRONG_TAG, FREE_NOT_EMPTY = 0x101, 0x103
MAP_WRONG_TAG, MAP_NOT_EMPTY = 0x104, 0x107
UNMAP_WRONG_TAG, UNMAP_NOTHING = 0x108, 0x10B
RELEASE_UNKNOWN, RELEASE_WRONG_COUNT = 0x303, 0x305
NOT_RESERVED = 1
"""Added to ..._WRONG_TAG: nobody has reserved the address."""


VALID = 1
"""Of a page table entry: the entry is in use."""


def first_mapped(nt: Kernel, base: int, pages: int) -> int:
    """The first page of a range that is mapped; 0 if none is."""
    mm = nt.mm
    at = range(base, base + pages * PAGE_SIZE, PAGE_SIZE)
    return next((va for va in at if mm.tables.read(mm.system_root, va)), 0)


@export(irql="<= APC")
def MmAllocateMappingAddress(nt: Kernel, NumberOfBytes: SIZE_T, PoolTag: ULONG) -> PVOID:
    """Reserve system addresses without memory; NULL if there are none.

    The tag lies in a page table entry that must not be valid: its lowest bit does not count.
    Source: WDK; ReactOS kmtests MmReservedMapping.c.
    """
    pages = -(-NumberOfBytes // PAGE_SIZE)
    if not pages or not PoolTag:
        return 0
    try:
        base = nt.mm.system_ptes.reserve(pages)
    except OutOfFrames:
        return 0
    nt.mm.reserved_mappings[base] = (pages, PoolTag & ~VALID)
    return base


@export(irql="<= APC")
def MmFreeMappingAddress(nt: Kernel, BaseAddress: PVOID, PoolTag: ULONG) -> None:
    """Give reserved addresses back.

    Another tag stops with 0xDA/0x101, addresses nobody reserved with 0x102, addresses with a
    mapping still in them with 0x103. Parameters name virtual addresses, not PTEs (inferred).
    Source: WDK MmFreeMappingAddress; bug check 0xDA reference.
    """
    pages, tag = _reservation(nt, BaseAddress, PoolTag, FREE_WRONG_TAG)
    used = first_mapped(nt, BaseAddress & ~0xFFF, pages)
    if used:
        nt.bugcheck(bugcodes.SYSTEM_PTE_MISUSE, FREE_NOT_EMPTY, used, tag, pages)
    base = BaseAddress & ~0xFFF
    del nt.mm.reserved_mappings[base]
    nt.mm.system_ptes.release(base, pages)


def _reservation(nt: Kernel, base: int, tag: int, wrong: int) -> tuple[int, int]:
    """(pages, tag) of a reservation; another tag, or none at all, stops the system."""
    found, tag = nt.mm.reserved_mappings.get(base & ~0xFFF), tag & ~VALID
    if found is None:
        nt.bugcheck(bugcodes.SYSTEM_PTE_MISUSE, wrong + NOT_RESERVED, base, tag)
    if found[1] != tag:
        nt.bugcheck(bugcodes.SYSTEM_PTE_MISUSE, wrong, base, tag, found[1])
    return found


@export(irql="<= DISPATCH")
def MmMapLockedPagesWithReservedMapping(
    nt: Kernel,
    MappingAddress: PVOID,
    PoolTag: ULONG,
    MemoryDescriptorList: PMDL,
    CacheType: MEMORY_CACHING_TYPE,
) -> PVOID:
    """Map locked pages at reserved addresses; NULL if they do not fit.

    Another tag stops with 0xDA/0x104, an address nobody reserved with 0x105, a range in use with
    0x107. Source: WDK MmMapLockedPagesWithReservedMapping; bug check 0xDA reference.
    """
    pages, _ = _reservation(nt, MappingAddress, PoolTag, MAP_WRONG_TAG)
    frames = mdl_frames(nt, MemoryDescriptorList)
    if len(frames) > pages:
        return 0
    base = MappingAddress & ~0xFFF
    used = first_mapped(nt, base, pages)
    if used:
        last = base + (pages - 1) * PAGE_SIZE
        nt.bugcheck(bugcodes.SYSTEM_PTE_MISUSE, MAP_NOT_EMPTY, MappingAddress, used, last)
    mm, v = nt.mm, MemoryDescriptorList._v
    mm.system.map(base, frames)
    mm.system.make_raw(mm.system_ptes, base, frames)
    v.MappedSystemVa = MappingAddress + v.ByteOffset
    v.MdlFlags |= c.MDL_MAPPED_TO_SYSTEM_VA
    return int(v.MappedSystemVa)


@export(irql="<= DISPATCH")
def MmUnmapReservedMapping(
    nt: Kernel, BaseAddress: PVOID, PoolTag: ULONG, MemoryDescriptorList: PMDL
) -> None:
    """Unmap; the addresses stay reserved.

    Another tag stops with 0xDA/0x108, an address nobody reserved with 0x109, a range with nothing
    mapped with 0x10B. Source: WDK MmUnmapReservedMapping; bug check 0xDA reference.
    """
    base = BaseAddress & ~0xFFF
    pages, tag = _reservation(nt, BaseAddress, PoolTag, UNMAP_WRONG_TAG)
    if not first_mapped(nt, base, pages):
        nt.bugcheck(bugcodes.SYSTEM_PTE_MISUSE, UNMAP_NOTHING, base, tag, pages)
    v = MemoryDescriptorList._v
    nt.mm.system.unmap(base, mdl_pages(v.ByteOffset, v.ByteCount))
    v.MappedSystemVa = 0
    v.MdlFlags &= ~c.MDL_MAPPED_TO_SYSTEM_VA


@export(irql="<= APC")
def MmAllocateNonCachedMemory(nt: Kernel, NumberOfBytes: SIZE_T) -> PVOID:
    """Whole pages of nonpaged memory that caches do not hold; NULL if there are none.

    Every processor here sees every store at once, so that caching makes no difference. Source: WDK.
    """
    pages = -(-NumberOfBytes // PAGE_SIZE)
    if not pages:
        return 0
    try:
        base = nt.mm.system.allocate(nt.mm.system_ptes, pages, zero=False)
    except OutOfFrames:
        return 0
    nt.mm.noncached[base] = pages
    return base


@export(irql="<= APC")
def MmFreeNonCachedMemory(nt: Kernel, BaseAddress: PVOID, NumberOfBytes: SIZE_T) -> None:
    """Free what MmAllocateNonCachedMemory gave, with the same size.

    Another address stops with 0xDA/0x303, another size with 0xDA/0x305 (inferred). Source: WDK
    MmFreeNonCachedMemory; bug check 0xDA reference.
    """
    pages, known = -(-NumberOfBytes // PAGE_SIZE), nt.mm.noncached.pop(BaseAddress, 0)
    if not known:
        nt.bugcheck(bugcodes.SYSTEM_PTE_MISUSE, RELEASE_UNKNOWN, BaseAddress, pages)
    if pages != known:
        nt.bugcheck(bugcodes.SYSTEM_PTE_MISUSE, RELEASE_WRONG_COUNT, BaseAddress, pages, known)
    nt.mm.system.free(nt.mm.system_ptes, BaseAddress, pages)
