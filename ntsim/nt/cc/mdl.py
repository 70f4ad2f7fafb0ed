"""Cached data by MDL: CcMdlRead, CcPrepareMdlWrite and what completes them.

The pages of the cache itself are locked and described, a chain of one MDL for each view of 256 KiB;
nothing is copied. Pages that are locked cannot be purged. Source: WDK CcPrepareMdlWrite,
CcMdlWriteComplete, CcMdlWriteAbort, CcMdlReadComplete; ReactOS ntoskrnl/cc/mdl.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.mm import MDL
from ntsim.abi.scalars import ULONG
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.cc.copy import pieces
from ntsim.nt.cc.flush import cc_flush
from ntsim.nt.cc.lazy import cc_wake_lazy_writer
from ntsim.nt.cc.paging import cc_page_in
from ntsim.nt.cc.pin import cc_pages, cc_view
from ntsim.nt.exports import Out, export
from ntsim.nt.mm.mdl import IoAllocateMdl, IoFreeMdl, mm_lock_pages, mm_unlock_pages
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.abi.io import PFILE_OBJECT, PIO_STATUS_BLOCK, PIRP
    from ntsim.abi.mm import PMDL
    from ntsim.abi.rtl import PLARGE_INTEGER
    from ntsim.nt.cc.cache_map import CacheMap
    from ntsim.nt.kernel import Kernel

READ_ACCESS, WRITE_ACCESS = 0, 1
"""LOCK_OPERATION."""


def cc_chain(nt: Kernel, first: PMDL) -> list[PMDL]:
    """The MDLs of a chain."""
    found, at = [], int(first)
    while at:
        mdl = MDL.at(nt.mmu, at)
        found.append(mdl)
        at = int(mdl._v.Next)
    return found


def cc_free_chain(nt: Kernel, first: PMDL) -> None:
    """Unlock and free the MDLs of a chain."""
    for mdl in cc_chain(nt, first):
        if mdl._v.MdlFlags & c.MDL_PAGES_LOCKED:
            mm_unlock_pages(nt, mdl)
        IoFreeMdl(nt, mdl)


def cc_lock_piece(nt: Kernel, cache_map: CacheMap, at: int, size: int, access: int) -> PMDL:
    """A locked MDL of what lies in one view and is resident."""
    start, end = cc_pages(at, size)
    view = cc_view(cache_map, start, end)
    nobody: PIRP = MDL.at(nt.mmu, 0)
    mdl = IoAllocateMdl(nt, view.at(start) + at % PAGE_SIZE, size, False, False, nobody)
    if not mdl:
        code = ntstatus.STATUS_INSUFFICIENT_RESOURCES
        raise StructuredException(code, reason="no memory for an MDL")
    mm_lock_pages(nt, mdl, 0, access)
    return mdl


def cc_describe(
    nt: Kernel, cache_map: CacheMap, offset: int, length: int, chain: Out[PMDL], writing: bool
) -> None:
    """Lock and describe a range piece by piece; what is done when one fails is freed again."""
    first = last = MDL.at(nt.mmu, 0)
    try:
        for at, size, _ in pieces(offset, length):
            start, end = cc_pages(at, size)
            if writing:
                cc_make_writable(cache_map, at, size)
            else:
                cc_page_in(cache_map, start, end)
            mdl = cc_lock_piece(nt, cache_map, at, size, WRITE_ACCESS if writing else READ_ACCESS)
            if last:
                last._v.Next = int(mdl)
            else:
                first = mdl
            last = mdl
    except StructuredException:
        cc_free_chain(nt, first)
        raise
    chain[0] = first


def cc_make_writable(cache_map: CacheMap, at: int, size: int) -> None:
    """Pages that are to be overwritten are there: those that are only partly so are read."""
    start, end = cc_pages(at, size)
    partial = {start} if at % PAGE_SIZE else set()
    partial |= {end - 1} if (at + size) % PAGE_SIZE else set()
    for page in sorted(partial & set(cache_map.missing(start, end))):
        cc_page_in(cache_map, page, page + 1)
    cache_map.make_zero(cache_map.missing(start, end))


@export(irql="<= APC")
def CcMdlRead(
    nt: Kernel,
    FileObject: PFILE_OBJECT,
    FileOffset: PLARGE_INTEGER,
    Length: ULONG,
    MdlChain: Out[PMDL],
    IoStatus: PIO_STATUS_BLOCK,
) -> None:
    """Read what is not resident, and lock and describe the pages; a failed read is raised."""
    cache_map = nt.cc.cached(FileObject)
    cc_describe(nt, cache_map, FileOffset.QuadPart, Length, MdlChain, False)
    v = IoStatus._v
    v.Status, v.Information = ntstatus.STATUS_SUCCESS, Length


@export(irql="<= APC")
def CcMdlReadComplete(nt: Kernel, FileObject: PFILE_OBJECT, MdlChain: PMDL) -> None:
    """Unlock and free what CcMdlRead has made."""
    cc_free_chain(nt, MdlChain)


@export(irql="<= APC")
def CcPrepareMdlWrite(
    nt: Kernel,
    FileObject: PFILE_OBJECT,
    FileOffset: PLARGE_INTEGER,
    Length: ULONG,
    MdlChain: Out[PMDL],
    IoStatus: PIO_STATUS_BLOCK,
) -> None:
    """Lock and describe pages that the caller will fill; partly written ones are read first."""
    cache_map = nt.cc.cached(FileObject)
    cc_describe(nt, cache_map, FileOffset.QuadPart, Length, MdlChain, True)
    v = IoStatus._v
    v.Status, v.Information = ntstatus.STATUS_SUCCESS, Length


@export(irql="<= APC")
def CcMdlWriteComplete(
    nt: Kernel, FileObject: PFILE_OBJECT, FileOffset: PLARGE_INTEGER, MdlChain: PMDL
) -> None:
    """The pages are dirty, for a write-through file written at once; the MDLs go.

    A write that fails is raised, and the MDLs stay.
    """
    cache_map = nt.cc.cached(FileObject)
    offset = FileOffset.QuadPart
    length = sum(int(mdl._v.ByteCount) for mdl in cc_chain(nt, MdlChain))
    first, last = cc_pages(offset, length)
    cache_map.mark_dirty(first, last)
    if FileObject._v.Flags & c.FO_WRITE_THROUGH:
        status = cc_flush(cache_map, first, last)
        if status:
            nt.raise_status(status, "write-through")
    elif length:
        cc_wake_lazy_writer(nt)
    cc_free_chain(nt, MdlChain)


@export(irql="<= APC")
def CcMdlWriteAbort(nt: Kernel, FileObject: PFILE_OBJECT, MdlChain: PMDL) -> None:
    """Unlock and free what CcPrepareMdlWrite has made; nothing becomes dirty."""
    cc_free_chain(nt, MdlChain)
