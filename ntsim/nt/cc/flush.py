"""Writing cached data back and throwing it away: CcFlushCache, CcPurgeCacheSection.

Source: WDK CcFlushCache, CcPurgeCacheSection, CcGetFlushedValidData; ReactOS kmtests
CcPinRead_drv.c, CcSetFileSizes_drv.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.io import FILE_OBJECT
from ntsim.abi.large_integer import LargeIntegerValue
from ntsim.abi.scalars import BOOLEAN, ULONG
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.cc.bcb import cc_clean_bcbs
from ntsim.nt.cc.map import cc_close
from ntsim.nt.cc.paging import cc_write
from ntsim.nt.cc.pin import cc_pages
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.abi.io import PIO_STATUS_BLOCK, PSECTION_OBJECT_POINTERS
    from ntsim.abi.rtl import LARGE_INTEGER, PLARGE_INTEGER
    from ntsim.nt.cc.cache_map import CacheMap
    from ntsim.nt.kernel import Kernel

MAXLONGLONG = (1 << 63) - 1


def cc_flush(cache_map: CacheMap, first: int, last: int) -> int:
    """Write the dirty pages of [first, last); the first failure."""
    pages = [page for page in sorted(cache_map.dirty) if first <= page < last]
    status, _ = cc_write(cache_map, pages)
    cc_clean_bcbs(cache_map)
    return status


def cc_range(FileOffset: PLARGE_INTEGER, length: int) -> tuple[int, int]:
    """Pages of an optional byte range; without an offset all of them."""
    return cc_pages(FileOffset.QuadPart, length) if FileOffset else (0, MAXLONGLONG)


@export(irql="<= APC")
def CcFlushCache(
    nt: Kernel,
    SectionObjectPointer: PSECTION_OBJECT_POINTERS,
    FileOffset: PLARGE_INTEGER,
    Length: ULONG,
    IoStatus: PIO_STATUS_BLOCK,
) -> None:
    """Write dirty data of a range, or with FileOffset NULL of the whole file, and wait for it.

    IoStatus, if given, gets the status and Length. Source: WDK CcFlushCache.
    """
    status, cache_map = ntstatus.STATUS_SUCCESS, nt.cc.of_pointers(SectionObjectPointer)
    if cache_map is not None:
        status = cc_flush(cache_map, *cc_range(FileOffset, Length))
    if IoStatus:
        v = IoStatus._v
        v.Status, v.Information = status, 0 if status else Length


@export(irql="<= APC")
def CcPurgeCacheSection(
    nt: Kernel,
    SectionObjectPointer: PSECTION_OBJECT_POINTERS,
    FileOffset: PLARGE_INTEGER,
    Length: ULONG,
    Flags: ULONG,
) -> BOOLEAN:
    """Throw cached data away, written or not; FALSE if somebody has a part mapped or pinned.

    Length 0 means to the end of the file. UNINITIALIZE_CACHE_MAPS ends caching for every file
    object first. Source: WDK CcPurgeCacheSection.
    """
    cache_map = nt.cc.of_pointers(SectionObjectPointer)
    if cache_map is None:
        return True
    first, last = cc_range(FileOffset, Length)
    if FileOffset and not Length:
        last = MAXLONGLONG
    if Flags & c.UNINITIALIZE_CACHE_MAPS:
        for file in list(cache_map.openers):
            cc_close(cache_map, FILE_OBJECT.at(nt.mmu, file))
    if cache_map.in_use(first, last):
        return False
    cc_discard(cache_map, first, last)
    return True


def cc_discard(cache_map: CacheMap, first: int, last: int) -> None:
    """Drop the resident pages of [first, last)."""
    for page in sorted(page for page in cache_map.frames if first <= page < last):
        cache_map.drop(page)
    cc_clean_bcbs(cache_map)


@export(irql="<= APC")
def CcGetFlushedValidData(
    nt: Kernel, SectionObjectPointer: PSECTION_OBJECT_POINTERS, BcbListHeld: BOOLEAN
) -> LARGE_INTEGER:
    """How far the file is clean: the first dirty byte, else the valid data length.

    Of a file that is not cached, MAXLONGLONG. Source: WDK CcGetFlushedValidData.
    """
    cache_map = nt.cc.of_pointers(SectionObjectPointer)
    if cache_map is None:
        return LargeIntegerValue(MAXLONGLONG)  # type: ignore[return-value]
    valid = cache_map.s._v.ValidDataLength_QuadPart
    clean = min(cache_map.dirty) * PAGE_SIZE if cache_map.dirty else valid
    return LargeIntegerValue(min(clean, valid))  # type: ignore[return-value]
