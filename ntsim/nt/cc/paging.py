"""Paging I/O: reads that make pages of a cached file resident, writes that clean them.

The IRPs carry a locked MDL over the frames and no system buffer, go to the top of the file's device
stack with IRP_PAGING_IO, and end without an APC. Reads are sent at APC_LEVEL, as a page fault sends
them. Source: ReactOS kmtests ntos_cc (CcPinRead_drv.c, CcCopyRead_drv.c: flags, MDL, IRQL); WDK
IRP_MJ_READ (file systems).
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.io import FILE_OBJECT
from ntsim.abi.ke import KEVENT
from ntsim.abi.mm import MDL
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.fsrtl.status import FsRtlNormalizeNtstatus
from ntsim.nt.io.call import IofCallDriver
from ntsim.nt.io.device import iop_top_of
from ntsim.nt.io.irp import io_allocate_irp, io_next_location
from ntsim.nt.ke.irql import APC_LEVEL, KeLowerIrql, KfRaiseIrql
from ntsim.nt.ke.objects import KeInitializeEvent, KeSetEvent
from ntsim.nt.ke.wait import WAIT_ANY, ki_wait
from ntsim.nt.mm.mdl import PFNS, IoFreeMdl, mi_unmap, mm_allocate_mdl
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.nt.cc.cache_map import CacheMap

WR_PAGE_IN = 2
LONGEST_READ, LONGEST_WRITE = 64, 256
"""Pages of one transfer at most."""


def runs(pages: list[int], longest: int) -> list[tuple[int, int]]:
    """(first, count) of the stretches of consecutive pages."""
    found = []
    for _, group in groupby(enumerate(pages), lambda pair: pair[1] - pair[0]):
        stretch = [page for _, page in group]
        for at in range(0, len(stretch), longest):
            found.append((stretch[at], min(longest, len(stretch) - at)))
    return found


def cc_page_in(cache_map: CacheMap, first: int, last: int) -> None:
    """Make pages [first, last) resident; a failed read is raised.

    Pages that another thread is reading are waited for.
    """
    nt = cache_map.nt
    while missing := cache_map.missing(first, last):
        others = [page for page in missing if page in cache_map.reading]
        if others:
            ki_wait(nt, [cache_map.reading[others[0]]], WAIT_ANY, WR_PAGE_IN, 0, False, None)
            continue
        for start, count in runs(missing, LONGEST_READ):
            cc_read_run(cache_map, start, count)


def cc_read_run(cache_map: CacheMap, first: int, count: int) -> None:
    """One paging read; what the driver leaves out at the end is zeros."""
    nt = cache_map.nt
    frames = [cache_map.new_frame() for _ in range(count)]
    event = KEVENT.at(nt.mmu, nt.allocate_pool(KEVENT.size, "CcEv"))
    KeInitializeEvent(nt, event, 0, False)
    for page in range(first, first + count):
        cache_map.reading[page] = int(event)
    irql = KfRaiseIrql(nt, max(APC_LEVEL, nt.il.current.cr8))
    status, done = cc_transfer(cache_map, c.IRP_MJ_READ, first, frames)
    KeLowerIrql(nt, irql)
    failed = status >> 30 == 3 and status != ntstatus.STATUS_END_OF_FILE
    for index, frame in enumerate(frames):
        page = first + index
        del cache_map.reading[page]
        if failed:
            nt.mm.frames.give(frame)
            continue
        valid = 0 if status >> 30 == 3 else min(max(done - index * PAGE_SIZE, 0), PAGE_SIZE)
        nt.mm.ram.write(frame + valid, bytes(PAGE_SIZE - valid))
        cache_map.frames[page] = frame
        cache_map.show(page)
    KeSetEvent(nt, event, 0, False)
    nt.free_pool(int(event))
    if failed:
        general = ntstatus.STATUS_UNEXPECTED_IO_ERROR
        code = FsRtlNormalizeNtstatus(nt, status, general)
        raise StructuredException(code, reason="a paging read failed")


def cc_write(cache_map: CacheMap, pages: list[int]) -> tuple[int, int]:
    """Write pages, in order, which are clean then; (first failure or success, bytes written)."""
    final = written = 0
    for first, count in runs(sorted(pages), LONGEST_WRITE):
        stretch = [page for page in range(first, first + count) if page in cache_map.frames]
        cache_map.forget_dirty(set(stretch))
        frames = [cache_map.frames[page] for page in stretch]
        status, done = cc_transfer(cache_map, c.IRP_MJ_WRITE, first, frames)
        if status >> 30 == 3:
            cache_map.mark_dirty(first, first + count)
            final = final or status
        else:
            written += done
    return final, written


def cc_transfer(cache_map: CacheMap, major: int, first: int, frames: list[int]) -> tuple[int, int]:
    """Send a paging IRP for pages from `first` on and wait; (status, Information)."""
    nt = cache_map.nt
    file = FILE_OBJECT.at(nt.mmu, cache_map.file)
    device = iop_top_of(nt, file.DeviceObject)
    length = len(frames) * PAGE_SIZE
    reading = major == c.IRP_MJ_READ
    mdl = MDL.at(nt.mmu, mm_allocate_mdl(nt, 0, length))
    irp = io_allocate_irp(nt, device._v.StackSize)
    assert mdl and irp, "no memory for a paging IRP"
    mdl._v.MdlFlags |= c.MDL_PAGES_LOCKED | (c.MDL_IO_PAGE_READ if reading else 0)
    pfns = b"".join((frame >> 12).to_bytes(8, "little") for frame in frames)
    nt.mmu.write(int(mdl) + PFNS, pfns)
    for frame in frames:
        nt.mm.frames.lock(frame)
    block = nt.allocate_pool(0x30, "CcIo")
    nt.mmu.write(block, bytes(0x30))
    event = KEVENT.at(nt.mmu, block + 0x10)
    KeInitializeEvent(nt, event, 0, False)
    v = irp._v
    v.Flags = c.IRP_PAGING_IO | c.IRP_NOCACHE | c.IRP_SYNCHRONOUS_PAGING_IO
    v.Flags |= c.IRP_INPUT_OPERATION if reading else 0
    v.MdlAddress, v.UserBuffer, v.UserIosb, v.UserEvent = int(mdl), 0, block, int(event)
    v.Tail_Overlay_OriginalFileObject = cache_map.file
    v.Tail_Overlay_Thread = nt.thread.va
    stack = io_next_location(nt, irp)._v
    stack.MajorFunction, stack.FileObject = major, cache_map.file
    stack.Parameters_Read_Length = length
    stack.Parameters_Read_ByteOffset_QuadPart = first * PAGE_SIZE
    IofCallDriver(nt, device, irp)
    ki_wait(nt, [int(event)], WAIT_ANY, WR_PAGE_IN, 0, False, None)
    status = int.from_bytes(nt.mmu.read(block, 4), "little")
    done = int.from_bytes(nt.mmu.read(block + 8, 8), "little")
    for frame in frames:
        nt.mm.frames.unlock(frame)
    if mdl._v.MdlFlags & c.MDL_MAPPED_TO_SYSTEM_VA:
        mi_unmap(nt, mdl)
    mdl._v.MdlFlags = 0
    IoFreeMdl(nt, mdl)
    nt.free_pool(block)
    return status, done
