"""Mapping and pinning cached data: CcMapData, CcPinRead, CcPinMappedData, CcPreparePinWrite.

The Bcb of data that is only mapped is the address of its view's VACB plus one; that of pinned data
is a buffer control block. Source: WDK CcMapData, CcPinRead, CcPinMappedData, CcUnpinData,
CcSetDirtyPinnedData; ReactOS kmtests ntos_cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import bugcodes, ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.cc import VACB
from ntsim.abi.io import FILE_OBJECT
from ntsim.abi.scalars import BOOLEAN, PVOID, ULONG, ULONG_PTR
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.cc.bcb import (
    BCB_NODE,
    OVERLAP_NODE,
    Bcb,
    cc_acquire_bcb,
    cc_find_bcb,
    cc_new_bcb,
    cc_release_bcb,
)
from ntsim.nt.cc.lazy import cc_wake_lazy_writer
from ntsim.nt.cc.paging import cc_page_in
from ntsim.nt.exports import Out, export
from ntsim.nt.mm.frames import OutOfFrames
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.abi.io import PFILE_OBJECT
    from ntsim.abi.rtl import PLARGE_INTEGER
    from ntsim.nt.cc.cache_map import CacheMap, View
    from ntsim.nt.kernel import Kernel


def cc_pages(offset: int, length: int) -> tuple[int, int]:
    """(first, beyond the last) page of a byte range."""
    return offset // PAGE_SIZE, -(-(offset + length) // PAGE_SIZE)


def cc_view(cache_map: CacheMap, first: int, last: int) -> View:
    """A view of pages, or STATUS_INSUFFICIENT_RESOURCES raised."""
    try:
        return cache_map.view(first, last)
    except OutOfFrames:
        code = ntstatus.STATUS_INSUFFICIENT_RESOURCES
        raise StructuredException(code, reason="the system cache is full") from None


def cc_pin(cache_map: CacheMap, first: int, last: int, flags: int, read: bool = True) -> Bcb | None:
    """A block, pinned by the current thread, that covers the pages; None if that must wait."""
    wait, exclusive = bool(flags & c.PIN_WAIT), bool(flags & c.PIN_EXCLUSIVE)
    found = [bcb for bcb in reversed(cache_map.bcbs) if bcb.overlaps(first, last)]
    whole = next((bcb for bcb in found if bcb.covers(first, last)), None)
    if whole is None and flags & c.PIN_IF_BCB:
        return None
    if read and not flags & c.PIN_NO_READ:
        missing = cache_map.missing(first, last)
        if missing and not cache_map.pin_access:
            cache_map.make_zero(missing)
        elif missing and not wait:
            return None
        cc_page_in(cache_map, first, last)
    view = cc_view(cache_map, first, last)
    if whole is not None:
        return whole if cc_acquire_bcb(whole, exclusive, wait) else None
    if not found:
        made = cc_new_bcb(cache_map, BCB_NODE, first, last, view)
        cc_acquire_bcb(made, exclusive, wait)
        return made
    return cc_pin_overlap(cache_map, first, last, found, view, (exclusive, wait))


def cc_pin_overlap(
    cache_map: CacheMap, first: int, last: int, found: list[Bcb], view: View, how: tuple[bool, bool]
) -> Bcb | None:
    """Pin the blocks in the range and new ones between them, under an overlap block."""
    parts, at = [], first
    for bcb in found:
        if at < bcb.first:
            parts.append(cc_new_bcb(cache_map, BCB_NODE, at, bcb.first, view))
        parts.append(bcb)
        at = bcb.last
    if at < last:
        parts.append(cc_new_bcb(cache_map, BCB_NODE, at, last, view))
    for index, bcb in enumerate(parts):
        if not cc_acquire_bcb(bcb, *how):
            for held in parts[:index]:
                cc_release_bcb(held, cache_map.nt.thread.va)
            return None
    over = cc_new_bcb(cache_map, OVERLAP_NODE, first, last, view)
    over.parts = parts
    cache_map.nt.cc.overlaps[over.va] = over
    return over


def cc_unpin(nt: Kernel, address: int, owner: int) -> None:
    """Let go of what a Bcb stands for."""
    if address & 1:
        vacb = VACB.at(nt.mmu, address - 1)._v
        if vacb.FileOffset_QuadPart & 0xFFFF:
            vacb.FileOffset_QuadPart -= 1
        return
    bcb = cc_expect_bcb(nt, address)
    if bcb.cache_map.dirty:
        cc_wake_lazy_writer(nt)
    for part in bcb.parts or [bcb]:
        cc_release_bcb(part, owner)
    if bcb.parts:
        del nt.cc.overlaps[address]
        nt.free_pool(address)


def cc_expect_bcb(nt: Kernel, address: int) -> Bcb:
    """The block at an address; 0x34 CACHE_MANAGER if it is none, or is no more.

    Parameter 1 is a place in Windows' source, which is not modelled: 0.
    """
    bcb = cc_find_bcb(nt, address)
    if bcb is None:
        nt.bugcheck(bugcodes.CACHE_MANAGER)
    return bcb


def cc_set_dirty(bcb: Bcb, lsn: int) -> None:
    """Every page of the block is to be written."""
    for part in bcb.parts or [bcb]:
        v = part.b._v
        v.Dirty = 1
        if lsn:
            v.OldestLsn_QuadPart = v.OldestLsn_QuadPart or lsn
            v.NewestLsn_QuadPart = lsn
        part.cache_map.mark_dirty(part.first, part.last)
    cc_wake_lazy_writer(bcb.cache_map.nt)


@export(irql="<= APC")
def CcMapData(
    nt: Kernel,
    FileObject: PFILE_OBJECT,
    FileOffset: PLARGE_INTEGER,
    Length: ULONG,
    Flags: ULONG,
    Bcb: Out[PVOID],
    Buffer: Out[PVOID],
) -> BOOLEAN:
    """Map cached data to read it, until CcUnpinData; what is not resident is read first.

    Without MAP_WAIT, FALSE if that would be needed; MAP_NO_READ leaves it to the first touch. A
    failed read is raised. Source: WDK CcMapData.
    """
    offset = FileOffset.QuadPart
    cache_map = nt.cc.cached(FileObject)
    first, last = cc_pages(offset, Length)
    if not Flags & c.MAP_NO_READ:
        if cache_map.missing(first, last) and not Flags & c.MAP_WAIT:
            return False
        cc_page_in(cache_map, first, last)
    view = cc_view(cache_map, first, last)
    vacb = view.vacb(first)
    VACB.at(nt.mmu, vacb)._v.FileOffset_QuadPart += 1
    Bcb[0], Buffer[0] = vacb | 1, view.at(first) + offset % PAGE_SIZE
    return True


@export(irql="<= APC")
def CcPinRead(
    nt: Kernel,
    FileObject: PFILE_OBJECT,
    FileOffset: PLARGE_INTEGER,
    Length: ULONG,
    Flags: ULONG,
    Bcb: Out[PVOID],
    Buffer: Out[PVOID],
) -> BOOLEAN:
    """Pin cached data, shared or with PIN_EXCLUSIVE alone, to change it, until CcUnpinData.

    FALSE: without PIN_WAIT the data is not there or pinned otherwise; with PIN_IF_BCB nobody has it
    pinned. In a cache map without pin access pages that are not resident are zeros and are not read
    (CcPinRead_drv.c). Source: WDK CcPinRead.
    """
    offset = FileOffset.QuadPart
    first, last = cc_pages(offset, Length)
    bcb = cc_pin(nt.cc.cached(FileObject), first, last, Flags)
    if bcb is None:
        return False
    base = cc_view(bcb.cache_map, first, last).at(first)
    Bcb[0], Buffer[0] = bcb.va, base + offset % PAGE_SIZE
    return True


@export(irql="<= APC")
def CcPinMappedData(
    nt: Kernel,
    FileObject: PFILE_OBJECT,
    FileOffset: PLARGE_INTEGER,
    Length: ULONG,
    Flags: ULONG,
    Bcb: PVOID,
) -> BOOLEAN:
    """Pin data that CcMapData mapped; *Bcb becomes the pinned data's, which replaces the old one.

    FALSE leaves *Bcb as it is, for CcPinRead's reasons. Source: WDK CcPinMappedData.
    """
    mapped = nt.read_pointer(int(Bcb))
    if not mapped & 1:
        return True
    first, last = cc_pages(FileOffset.QuadPart, Length)
    bcb = cc_pin(nt.cc.cached(FileObject), first, last, Flags)
    if bcb is None:
        return False
    nt.mmu.write_word(int(Bcb), bcb.va)
    cc_unpin(nt, mapped, 0)
    return True


@export(irql="<= APC")
def CcPreparePinWrite(
    nt: Kernel,
    FileObject: PFILE_OBJECT,
    FileOffset: PLARGE_INTEGER,
    Length: ULONG,
    Zero: BOOLEAN,
    Flags: ULONG,
    Bcb: Out[PVOID],
    Buffer: Out[PVOID],
) -> BOOLEAN:
    """Pin data that will be overwritten and make it dirty: only pages at the ends are read.

    With Zero the bytes are zeros at once. Source: WDK CcPreparePinWrite.
    """
    offset = FileOffset.QuadPart
    cache_map = nt.cc.cached(FileObject)
    first, last = cc_pages(offset, Length)
    ends = {first} if offset % PAGE_SIZE else set()
    ends |= {last - 1} if (offset + Length) % PAGE_SIZE else set()
    if set(cache_map.missing(first, last)) & ends and not Flags & c.PIN_WAIT:
        return False
    for page in sorted(ends):
        cc_page_in(cache_map, page, page + 1)
    cache_map.make_zero(cache_map.missing(first, last))
    bcb = cc_pin(cache_map, first, last, Flags, read=False)
    if bcb is None:
        return False
    buffer = cc_view(cache_map, first, last).at(first) + offset % PAGE_SIZE
    if Zero:
        nt.mmu.write(buffer, bytes(Length))
    cc_set_dirty(bcb, 0)
    Bcb[0], Buffer[0] = bcb.va, buffer
    return True


@export(irql="<= APC")
def CcSetDirtyPinnedData(nt: Kernel, BcbVoid: PVOID, Lsn: PLARGE_INTEGER) -> None:
    """The pinned data was changed: it will be written. Source: WDK CcSetDirtyPinnedData."""
    cc_set_dirty(cc_expect_bcb(nt, BcbVoid), Lsn.QuadPart if Lsn else 0)


@export(irql="<= APC")
def CcUnpinData(nt: Kernel, Bcb: PVOID) -> None:
    """Undo CcMapData, CcPinRead or CcPreparePinWrite.

    A thread that has not pinned the data stops with 0xE3 RESOURCE_NOT_OWNED, a Bcb that is none
    with 0x34 CACHE_MANAGER. Source: WDK CcUnpinData.
    """
    cc_unpin(nt, Bcb, nt.thread.va)


@export(irql="<= APC")
def CcUnpinDataForThread(nt: Kernel, Bcb: PVOID, ResourceThreadId: ULONG_PTR) -> None:
    """CcUnpinData for the thread that pinned it. Source: WDK CcUnpinDataForThread."""
    cc_unpin(nt, Bcb, ResourceThreadId)


@export(irql="<= APC")
def CcGetFileObjectFromBcb(nt: Kernel, Bcb: PVOID) -> PFILE_OBJECT:
    """The file object that began caching. Source: WDK CcGetFileObjectFromBcb."""
    if Bcb & 1:
        cache_map = nt.cc.maps[VACB.at(nt.mmu, Bcb - 1)._v.SharedCacheMap]
    else:
        cache_map = cc_expect_bcb(nt, Bcb).cache_map
    found: Any = FILE_OBJECT.at(nt.mmu, cache_map.file)
    return found  # type: ignore[no-any-return]
