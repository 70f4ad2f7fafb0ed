"""Memory descriptor lists: MDL bytes with the page-frame array behind, locking and mapping.

Source: WDK "Using MDLs"; ReactOS kmtests IoMdl.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import bugcodes, ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.mm import MDL
from ntsim.abi.scalars import (
    BOOLEAN,
    KPROCESSOR_MODE,
    LOCK_OPERATION,
    MEMORY_CACHING_TYPE,
    PVOID,
    SIZE_T,
    ULONG,
)
from ntsim.hw.mmu import READ, WRITE
from ntsim.hw.paging import entry_va
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.events import PagesLocked, PagesUnlocked
from ntsim.nt.exports import export
from ntsim.nt.mm import layout
from ntsim.nt.mm.frames import OutOfFrames
from ntsim.nt.mm.user_space import PHYSICAL

if TYPE_CHECKING:
    from ntsim.abi.io import PIRP
    from ntsim.abi.mm import PMDL
    from ntsim.nt.kernel import Kernel

LONGEST = (1 << 32) - PAGE_SIZE
LONGEST_CHAIN = 1 << 16
"""MDLs of one IRP, more than memory has for one request."""

PFNS = MDL.size
TAG = "Mdl "
MAPPED_UNLOCKED = 0x1233
"""Parameter 1 of 0x1A: a driver maps a page that is not locked."""

BUILT_OVER_NOTHING = 0x1240
"""Parameter 1 of 0x1A: an MDL is built for addresses that are not resident."""

UNLOCKED_TOO_OFTEN = 7
"""Parameter 1 of 0x4E: a driver unlocked a page more often than it locked it."""


def mdl_pages(va: int, length: int) -> int:
    """ADDRESS_AND_SIZE_TO_SPAN_PAGES."""
    return ((va & 0xFFF) + length + 0xFFF) >> 12


def mm_initialize_mdl(mdl: Any, va: int, length: int) -> None:
    """MmInitializeMdl: describes [va, va+length), pages not locked yet."""
    v = mdl._v
    v.Next = v.MdlFlags = v.Process = v.MappedSystemVa = 0
    v.Size = MDL.size + 8 * mdl_pages(va, length)
    v.StartVa, v.ByteOffset, v.ByteCount = va & ~0xFFF, va & 0xFFF, length


def mdl_frames(nt: Kernel, mdl: Any) -> list[int]:
    """Physical addresses of the pages, from the PFN array."""
    v = mdl._v
    count = mdl_pages(v.ByteOffset, v.ByteCount)
    data = nt.mmu.read(int(mdl) + PFNS, 8 * count)
    return [int.from_bytes(data[i : i + 8], "little") << 12 for i in range(0, 8 * count, 8)]


def mm_allocate_mdl(nt: Kernel, va: int, length: int) -> int:
    """A new MDL in nonpaged pool, 0 if memory is short."""
    address = nt.allocate_pool(MDL.size + 8 * mdl_pages(va, length), TAG)
    if address:
        mm_initialize_mdl(MDL.at(nt.mmu, address), va, length)
    return address


@export(irql="<= DISPATCH")
def IoAllocateMdl(
    nt: Kernel,
    VirtualAddress: PVOID,
    Length: ULONG,
    SecondaryBuffer: BOOLEAN,
    ChargeQuota: BOOLEAN,
    Irp: PIRP,
) -> PMDL:
    """An MDL for a range; with Irp it becomes, or is chained to, Irp->MdlAddress.

    Since Windows 7 at most 4 GB less a page; kmtests IoMdl.c asserts the limits of Server 2003.
    Source: WDK IoAllocateMdl.
    """
    if Length > LONGEST:
        return MDL.at(nt.mmu, 0)  # type: ignore[no-any-return]
    mdl = MDL.at(nt.mmu, mm_allocate_mdl(nt, int(VirtualAddress), Length))
    if mdl and Irp:
        if SecondaryBuffer:
            _last_of(nt, Irp.MdlAddress).Next = mdl
        else:
            Irp.MdlAddress = mdl
    return mdl  # type: ignore[no-any-return]


def _last_of(nt: Kernel, mdl: PMDL) -> PMDL:
    """The end of a chain; one that goes round is followed for ever."""
    for _ in range(LONGEST_CHAIN):
        if not mdl.Next:
            return mdl
        mdl = mdl.Next
    nt.loop_for_ever()


@export(irql="<= DISPATCH")
def IoFreeMdl(nt: Kernel, Mdl: PMDL) -> None:
    """Free an MDL made by IoAllocateMdl. Source: WDK IoFreeMdl."""
    if Mdl._v.MdlFlags & c.MDL_PARTIAL_HAS_BEEN_MAPPED:
        mi_unmap(nt, Mdl)
    nt.free_pool(int(Mdl))


@export(irql="<= DISPATCH, or <= APC for pageable addresses")
def MmProbeAndLockPages(
    nt: Kernel, MemoryDescriptorList: PMDL, AccessMode: KPROCESSOR_MODE, Operation: LOCK_OPERATION
) -> None:
    """Make the pages resident, check the access and fill the PFN array; raises if it cannot.

    Operation is IoReadAccess (0), IoWriteAccess (1) or IoModifyAccess (2). Source: WDK.
    """
    mm_lock_pages(nt, MemoryDescriptorList, AccessMode, Operation)
    v = MemoryDescriptorList._v
    pages = mdl_pages(v.ByteOffset, v.ByteCount)
    nt.emit_at(PagesLocked, int(MemoryDescriptorList), pages, v.Process)


def mm_lock_pages(nt: Kernel, mdl: PMDL, mode: int, operation: int) -> None:
    """MmProbeAndLockPages for a driver or the I/O manager."""
    v = mdl._v
    start, length = v.StartVa + v.ByteOffset, v.ByteCount
    if mode and (start + length > layout.MM_USER_PROBE_ADDRESS or start + length < start):
        nt.raise_status(ntstatus.STATUS_ACCESS_VIOLATION, "user address", (0, start))
    access = WRITE if operation else READ
    frames = []
    for page in range(mdl_pages(v.ByteOffset, length)):
        va = v.StartVa + page * PAGE_SIZE
        nt.mmu.host(va, access, bool(mode))
        pa = nt.mmu.physical(va)
        assert pa is not None, f"{va:#x} is not present after a successful access"
        frames.append(pa >> 12)
    for pfn in frames:
        nt.mm.frames.lock(pfn << 12)
    data = b"".join(pfn.to_bytes(8, "little") for pfn in frames)
    nt.mmu.write(int(mdl) + PFNS, data)
    v.MdlFlags |= c.MDL_PAGES_LOCKED | (c.MDL_WRITE_OPERATION if operation else 0)
    if layout.is_user_address(start):
        process = nt.ps.current_process()
        v.Process = process.va
        process.locked_pages += len(frames)
        process.e._v.NumberOfLockedPages = process.locked_pages


@export(irql="<= DISPATCH")
def MmUnlockPages(nt: Kernel, MemoryDescriptorList: PMDL) -> None:
    """Undo MmProbeAndLockPages, and the system mapping if there is one.

    Pages that are not locked stop with 0x4E, parameter 1 = 7, parameter 2 the first frame. Source:
    WDK MmUnlockPages; bug check 0x4E reference.
    """
    mm_unlock_pages(nt, MemoryDescriptorList)
    nt.emit_at(PagesUnlocked, int(MemoryDescriptorList))


def mm_unlock_pages(nt: Kernel, mdl: PMDL) -> None:
    """MmUnlockPages for a driver or the I/O manager."""
    v = mdl._v
    if not v.MdlFlags & c.MDL_PAGES_LOCKED:
        first = mdl_frames(nt, mdl)[:1]
        nt.bugcheck(bugcodes.PFN_LIST_CORRUPT, UNLOCKED_TOO_OFTEN, *(pa >> 12 for pa in first))
    if v.MdlFlags & c.MDL_MAPPED_TO_SYSTEM_VA:
        mi_unmap(nt, mdl)
    for pa in mdl_frames(nt, mdl):
        nt.mm.frames.unlock(pa)
    process = nt.ps.by_address.get(v.Process)
    if process is not None:
        process.locked_pages -= mdl_pages(v.ByteOffset, v.ByteCount)
        process.e._v.NumberOfLockedPages = process.locked_pages
    v.MdlFlags &= ~(c.MDL_PAGES_LOCKED | c.MDL_WRITE_OPERATION)
    v.Process = 0


@export(irql="<= DISPATCH")
def MmBuildMdlForNonPagedPool(nt: Kernel, MemoryDescriptorList: PMDL) -> None:
    """Fill the PFN array for nonpaged memory; its address is its mapping.

    Memory that is not resident stops with 0x1A, parameter 1 = 0x1240. Source: WDK; 0x1A reference.
    """
    v = MemoryDescriptorList._v
    pfns = []
    for page in range(mdl_pages(v.ByteOffset, v.ByteCount)):
        va = v.StartVa + page * PAGE_SIZE
        pa = nt.mmu.physical(va)
        if pa is None:
            entry = entry_va(va)
            nt.bugcheck(
                bugcodes.MEMORY_MANAGEMENT, BUILT_OVER_NOTHING, int(MemoryDescriptorList), entry
            )
        pfns.append((pa >> 12).to_bytes(8, "little"))
    nt.mmu.write(int(MemoryDescriptorList) + PFNS, b"".join(pfns))
    v.MdlFlags |= c.MDL_SOURCE_IS_NONPAGED_POOL
    v.MappedSystemVa = v.StartVa + v.ByteOffset


@export(irql="<= DISPATCH", inline=True)
def MmGetSystemAddressForMdlSafe(nt: Kernel, Mdl: PMDL, Priority: ULONG) -> PVOID:
    """The system address of the buffer, mapping it on first use; NULL if there is no room.

    Source: wdm.h; WDK MmGetSystemAddressForMdlSafe.
    """
    v = Mdl._v
    if v.MdlFlags & (c.MDL_MAPPED_TO_SYSTEM_VA | c.MDL_SOURCE_IS_NONPAGED_POOL):
        return int(v.MappedSystemVa)
    return MmMapLockedPagesSpecifyCache(nt, Mdl, 0, 1, 0, False, Priority)


@export(irql="<= DISPATCH, or <= APC for user mode")
def MmMapLockedPagesSpecifyCache(
    nt: Kernel,
    MemoryDescriptorList: PMDL,
    AccessMode: KPROCESSOR_MODE,
    CacheType: MEMORY_CACHING_TYPE,
    RequestedAddress: PVOID,
    BugCheckOnFailure: ULONG,
    Priority: ULONG,
) -> PVOID:
    """Map locked pages into system space (KernelMode) or the current process.

    Pages that are not locked stop with 0x1A, parameter 1 = 0x1233. Source: WDK
    MmMapLockedPagesSpecifyCache; bug check 0x1A reference.
    """
    v = MemoryDescriptorList._v
    frames = mdl_frames(nt, MemoryDescriptorList)
    known = v.MdlFlags & (c.MDL_PAGES_LOCKED | c.MDL_PARTIAL | c.MDL_SOURCE_IS_NONPAGED_POOL)
    for pa in frames:
        if not known or pa >= nt.mm.ram.size:
            nt.bugcheck(bugcodes.MEMORY_MANAGEMENT, MAPPED_UNLOCKED, pa >> 12)
    if AccessMode:
        return _map_to_user(nt, v, frames, int(RequestedAddress))
    mm = nt.mm
    try:
        base = mm.system_ptes.reserve(len(frames))
    except OutOfFrames:
        return 0
    try:
        mm.system.map(base, frames)
    except OutOfFrames:
        mm.system_ptes.release(base, len(frames))
        return 0
    mm.system.make_raw(mm.system_ptes, base, frames)
    v.MappedSystemVa = base + v.ByteOffset
    v.MdlFlags |= c.MDL_MAPPED_TO_SYSTEM_VA
    return int(v.MappedSystemVa)


@export(irql="<= DISPATCH, or <= APC for user mode")
def MmMapLockedPages(
    nt: Kernel, MemoryDescriptorList: PMDL, AccessMode: KPROCESSOR_MODE
) -> PVOID:
    """MmMapLockedPagesSpecifyCache, cached, anywhere. Obsolete. Source: WDK MmMapLockedPages."""
    return MmMapLockedPagesSpecifyCache(nt, MemoryDescriptorList, AccessMode, 1, 0, True, 32)


@export(irql="any")
def MmSizeOfMdl(nt: Kernel, Base: PVOID, Length: SIZE_T) -> SIZE_T:
    """Bytes of an MDL for a buffer, its PFN array included. Source: WDK MmSizeOfMdl."""
    return MDL.size + 8 * mdl_pages(int(Base), Length)


def _map_to_user(nt: Kernel, v: Any, frames: list[int], address: int) -> int:
    space = nt.ps.current_process().user
    size = len(frames) * PAGE_SIZE
    made = space.reserve(size, address, c.PAGE_READWRITE, PHYSICAL)
    if made is None:
        nt.raise_status(ntstatus.STATUS_CONFLICTING_ADDRESSES, "MmMapLockedPages")
    for i, pa in enumerate(frames):
        space.map_shared(made.base + i * PAGE_SIZE, pa)
    return made.base + int(v.ByteOffset)


@export(irql="<= DISPATCH")
def MmUnmapLockedPages(nt: Kernel, BaseAddress: PVOID, MemoryDescriptorList: PMDL) -> None:
    """Undo MmMapLockedPagesSpecifyCache. Source: WDK MmUnmapLockedPages."""
    if layout.is_user_address(int(BaseAddress)):
        space = nt.ps.current_process().user
        found = space.find(int(BaseAddress))
        if found is not None:
            space.release(found)
    elif MemoryDescriptorList._v.MdlFlags & c.MDL_MAPPED_TO_SYSTEM_VA:
        mi_unmap(nt, MemoryDescriptorList)


def mi_unmap(nt: Kernel, mdl: Any) -> None:
    """Drop the system mapping of an MDL."""
    v = mdl._v
    base = v.MappedSystemVa & ~0xFFF
    pages = mdl_pages(v.ByteOffset, v.ByteCount)
    mm = nt.mm
    mm.system.unmap(base, pages)
    mm.system_ptes.release(base, pages)
    v.MappedSystemVa = 0
    v.MdlFlags &= ~(c.MDL_MAPPED_TO_SYSTEM_VA | c.MDL_PARTIAL_HAS_BEEN_MAPPED)


@export(irql="any", inline=True)
def MmGetMdlByteCount(nt: Kernel, Mdl: PMDL) -> ULONG:
    """Length of the described buffer. Source: WDK MmGetMdlByteCount."""
    return int(Mdl._v.ByteCount)


@export(irql="any", inline=True)
def MmGetMdlByteOffset(nt: Kernel, Mdl: PMDL) -> ULONG:
    """Offset of the buffer in its first page. Source: WDK MmGetMdlByteOffset."""
    return int(Mdl._v.ByteOffset)


@export(irql="any", inline=True)
def MmGetMdlVirtualAddress(nt: Kernel, Mdl: PMDL) -> PVOID:
    """The address the MDL was made for. Source: WDK MmGetMdlVirtualAddress."""
    return int(Mdl._v.StartVa + Mdl._v.ByteOffset)


@export(irql="any", inline=True)
def MmGetMdlPfnArray(nt: Kernel, Mdl: PMDL) -> PVOID:
    """The PFN array behind the MDL. Source: WDK MmGetMdlPfnArray."""
    return int(Mdl) + PFNS


@export(irql="any", inline=True)
def MmInitializeMdl(nt: Kernel, MemoryDescriptorList: PMDL, BaseVa: PVOID, Length: SIZE_T) -> None:
    """Initialize an MDL in the caller's memory. Source: WDK MmInitializeMdl."""
    mm_initialize_mdl(MemoryDescriptorList, int(BaseVa), Length)


@export(irql="<= DISPATCH")
def IoBuildPartialMdl(
    nt: Kernel, SourceMdl: PMDL, TargetMdl: PMDL, VirtualAddress: PVOID, Length: ULONG
) -> None:
    """Make TargetMdl describe part of SourceMdl's pages; Length 0: up to the end.

    What lies outside is 0x12E, a target with too little room 0x40. Source: WDK IoBuildPartialMdl.
    """
    source, target = SourceMdl._v, TargetMdl._v
    start, first = int(VirtualAddress), source.StartVa + source.ByteOffset
    size = Length or first + source.ByteCount - start
    if not first <= start <= start + size <= first + source.ByteCount:
        code = bugcodes.INVALID_MDL_RANGE
        nt.bugcheck(code, int(SourceMdl), int(TargetMdl), start, Length)
    room = target.Size
    if room - MDL.size < 8 * mdl_pages(start, size):
        nt.bugcheck(bugcodes.TARGET_MDL_TOO_SMALL)
    mm_initialize_mdl(TargetMdl, start, size)
    target.Size = room
    skip = (target.StartVa - source.StartVa) >> 12
    count = mdl_pages(start, size)
    pfns = nt.mmu.read(int(SourceMdl) + PFNS + 8 * skip, 8 * count)
    nt.mmu.write(int(TargetMdl) + PFNS, pfns)
    target.MdlFlags = c.MDL_PARTIAL
    target.Process = source.Process
    mapped = c.MDL_MAPPED_TO_SYSTEM_VA | c.MDL_SOURCE_IS_NONPAGED_POOL
    if source.MdlFlags & mapped:
        target.MdlFlags |= c.MDL_SOURCE_IS_NONPAGED_POOL
        target.MappedSystemVa = source.MappedSystemVa + start - (source.StartVa + source.ByteOffset)
