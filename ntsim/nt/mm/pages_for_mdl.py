"""Physical pages described by an MDL: MmAllocatePagesForMdl(Ex), MmFreePagesFromMdl.

The pages are locked, zeroed and not mapped; the caller maps them, and frees first the pages, then
the MDL with ExFreePool. Source: WDK MmAllocatePagesForMdl, MmAllocatePagesForMdlEx,
MmFreePagesFromMdl.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import wdm_constants as c
from ntsim.abi.mm import MDL
from ntsim.abi.rtl import LARGE_INTEGER
from ntsim.abi.scalars import MEMORY_CACHING_TYPE, SIZE_T, ULONG
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.exports import export
from ntsim.nt.mm.mdl import PFNS, mdl_frames, mi_unmap, mm_allocate_mdl

if TYPE_CHECKING:
    from ntsim.abi.mm import PMDL
    from ntsim.nt.kernel import Kernel

PHYSICAL_ADDRESS = LARGE_INTEGER
DONT_ZERO, FULLY_REQUIRED, CONTIGUOUS = 1, 4, 0x20
MAXIMUM = (1 << 63) - 1


def mi_take_pages(nt: Kernel, low: int, high: int, pages: int, flags: int) -> list[int]:
    """Frames in [low, high], as many as there are up to `pages`."""
    frames = nt.mm.frames
    if flags & CONTIGUOUS:
        first = frames.take_run(pages, low, high)
        found = [] if first is None else [first + i * PAGE_SIZE for i in range(pages)]
    else:
        found = frames.take_between(pages, low, high)
    if not flags & DONT_ZERO:
        for frame in found:
            nt.mm.ram.write(frame, bytes(PAGE_SIZE))
    return found


def mi_allocate_for_mdl(nt: Kernel, low: int, high: int, size: int, flags: int) -> Any:
    """An MDL over new pages; NULL if there are none, or fewer than must be.

    The MDL is made first: asked for more than there is, the pages must leave room for it.
    """
    pages = -(-size // PAGE_SIZE)
    most = min(pages, nt.mm.ram.size // PAGE_SIZE)
    address = mm_allocate_mdl(nt, 0, most * PAGE_SIZE)
    found = mi_take_pages(nt, low, high, most, flags) if address else []
    if not found or (flags & FULLY_REQUIRED and len(found) < pages):
        for frame in found:
            nt.mm.frames.give(frame)
        if address:
            nt.free_pool(address)
        return MDL.at(nt.mmu, 0)
    mdl = MDL.at(nt.mmu, address)
    pfns = b"".join((frame >> 12).to_bytes(8, "little") for frame in found)
    nt.mmu.write(address + PFNS, pfns)
    mdl._v.ByteCount = len(found) * PAGE_SIZE
    mdl._v.MdlFlags |= c.MDL_PAGES_LOCKED
    return mdl


@export(irql="<= DISPATCH")
def MmAllocatePagesForMdl(
    nt: Kernel,
    LowAddress: PHYSICAL_ADDRESS,
    HighAddress: PHYSICAL_ADDRESS,
    SkipBytes: PHYSICAL_ADDRESS,
    TotalBytes: SIZE_T,
) -> PMDL:
    """Pages in an address range, as many as there are; NULL if there are none.

    SkipBytes is for a caller that asks again and again; here every call finds what is free. Source:
    WDK MmAllocatePagesForMdl.
    """
    low, high = nt.quad_part(LowAddress) & MAXIMUM, nt.quad_part(HighAddress) & MAXIMUM
    return mi_allocate_for_mdl(nt, low, high, TotalBytes, 0)  # type: ignore[no-any-return]


@export(irql="<= DISPATCH")
def MmAllocatePagesForMdlEx(
    nt: Kernel,
    LowAddress: PHYSICAL_ADDRESS,
    HighAddress: PHYSICAL_ADDRESS,
    SkipBytes: PHYSICAL_ADDRESS,
    TotalBytes: SIZE_T,
    CacheType: MEMORY_CACHING_TYPE,
    Flags: ULONG,
) -> PMDL:
    """The same with MM_DONT_ZERO_ALLOCATION, MM_ALLOCATE_FULLY_REQUIRED and contiguous chunks.

    Source: WDK MmAllocatePagesForMdlEx.
    """
    low, high = nt.quad_part(LowAddress) & MAXIMUM, nt.quad_part(HighAddress) & MAXIMUM
    return mi_allocate_for_mdl(nt, low, high, TotalBytes, Flags)  # type: ignore[no-any-return]


@export(irql="<= DISPATCH")
def MmFreePagesFromMdl(nt: Kernel, MemoryDescriptorList: PMDL) -> None:
    """Give the pages back; the MDL stays the caller's. Source: WDK MmFreePagesFromMdl."""
    v = MemoryDescriptorList._v
    frames = mdl_frames(nt, MemoryDescriptorList)
    if v.MdlFlags & c.MDL_MAPPED_TO_SYSTEM_VA:
        mi_unmap(nt, MemoryDescriptorList)
    v.MdlFlags &= ~c.MDL_PAGES_LOCKED
    for frame in frames:
        nt.mm.frames.give(frame)
