"""Copying to and from cached files: CcCopyRead, CcCopyWrite.

Source: WDK CcCopyRead, CcCopyWrite; ReactOS kmtests CcCopyRead_drv.c, CcCopyWrite_drv.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.scalars import BOOLEAN, PVOID, ULONG
from ntsim.abi.wdm_constants import VACB_MAPPING_GRANULARITY
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.cc.flush import cc_flush
from ntsim.nt.cc.lazy import cc_wake_lazy_writer
from ntsim.nt.cc.paging import cc_page_in
from ntsim.nt.cc.pin import cc_pages, cc_view
from ntsim.nt.exports import export
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ntsim.abi.io import PFILE_OBJECT, PIO_STATUS_BLOCK
    from ntsim.abi.rtl import PLARGE_INTEGER
    from ntsim.nt.kernel import Kernel


def pieces(offset: int, length: int) -> Iterator[tuple[int, int, int]]:
    """(offset, length, position in the whole) of what lies in one 256 KiB view each."""
    done = 0
    while done < length:
        at = offset + done
        size = min(length - done, VACB_MAPPING_GRANULARITY - at % VACB_MAPPING_GRANULARITY)
        yield at, size, done
        done += size


def callers(nt: Kernel, buffer: int, length: int, data: bytes | None) -> bytes:
    """Read or write the caller's buffer; STATUS_INVALID_USER_BUFFER is raised if it is none."""
    try:
        if data is None:
            return nt.mmu.read(buffer, length)
        nt.mmu.write(buffer, data)
    except StructuredException:
        code = ntstatus.STATUS_INVALID_USER_BUFFER
        raise StructuredException(code, reason=f"no buffer at {buffer:#x}") from None
    return b""


@export(irql="<= APC")
def CcCopyRead(
    nt: Kernel,
    FileObject: PFILE_OBJECT,
    FileOffset: PLARGE_INTEGER,
    Length: ULONG,
    Wait: BOOLEAN,
    Buffer: PVOID,
    IoStatus: PIO_STATUS_BLOCK,
) -> BOOLEAN:
    """Copy cached data to Buffer, after reading what is not resident.

    Without Wait that read is done all the same, but the answer is FALSE and nothing copied. A
    failed read, and STATUS_INVALID_USER_BUFFER, are raised. Source: WDK CcCopyRead.
    """
    offset = FileOffset.QuadPart
    cache_map = nt.cc.cached(FileObject)
    first, last = cc_pages(offset, Length)
    if cache_map.missing(first, last) and not Wait:
        cc_page_in(cache_map, first, last)
        return False
    for at, size, done in pieces(offset, Length):
        start, end = cc_pages(at, size)
        cc_page_in(cache_map, start, end)
        view = cc_view(cache_map, start, end)
        data = nt.mmu.read(view.at(start) + at % PAGE_SIZE, size)
        callers(nt, Buffer + done, size, data)
    v = IoStatus._v
    v.Status, v.Information = ntstatus.STATUS_SUCCESS, Length
    return True


@export(irql="<= APC")
def CcCopyWrite(
    nt: Kernel,
    FileObject: PFILE_OBJECT,
    FileOffset: PLARGE_INTEGER,
    Length: ULONG,
    Wait: BOOLEAN,
    Buffer: PVOID,
) -> BOOLEAN:
    """Copy from Buffer into the cache, whose pages are then dirty; partly written ones are read.

    FALSE without Wait when a page has to be read, which it then is, and for a write-through file;
    with Wait such a file's data is written before the return. Source: WDK CcCopyWrite.
    """
    offset = FileOffset.QuadPart
    cache_map = nt.cc.cached(FileObject)
    through = FileObject._v.Flags & c.FO_WRITE_THROUGH
    if through and not Wait:
        return False
    first, last = cc_pages(offset, Length)
    partial = {first} if Length and offset % PAGE_SIZE else set()
    partial |= {last - 1} if (offset + Length) % PAGE_SIZE and Length else set()
    missing = sorted(partial & set(cache_map.missing(first, last)))
    for page in missing:
        cc_page_in(cache_map, page, page + 1)
    if missing and not Wait:
        return False
    for at, size, done in pieces(offset, Length):
        data = callers(nt, Buffer + done, size, None)
        start, end = cc_pages(at, size)
        cache_map.make_zero(cache_map.missing(start, end))
        view = cc_view(cache_map, start, end)
        nt.mmu.write(view.at(start) + at % PAGE_SIZE, data)
        cache_map.mark_dirty(start, end)
    if through:
        cc_flush(cache_map, first, last)
    elif Length:
        cc_wake_lazy_writer(nt)
    return True
