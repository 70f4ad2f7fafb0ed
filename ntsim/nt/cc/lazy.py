"""The lazy writer: a system thread that writes dirty pages back, an eighth of them every second.

Before it writes a file it calls the file system's AcquireForLazyWrite and afterwards
ReleaseFromLazyWrite. A file whose last user is gone is written whole, and its cache map deleted.
Data that cannot be written is lost, as Windows' "Delayed Write Failed" says. Source: Windows
Internals 7, part 2, chapter 11, "Write-back caching and lazy writing"; WDK CcInitializeCacheMap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.cc import CACHE_MANAGER_CALLBACKS, CACHE_UNINITIALIZE_EVENT, SHARED_CACHE_MAP
from ntsim.abi.io import FILE_OBJECT
from ntsim.abi.ke import KEVENT
from ntsim.abi.rtl import LARGE_INTEGER
from ntsim.nt.cc.bcb import cc_clean_bcbs, cc_forget_bcb
from ntsim.nt.cc.paging import cc_write
from ntsim.nt.cc.threshold import cc_post_deferred
from ntsim.nt.events import DelayedWriteFailed
from ntsim.nt.ke.objects import KeClearEvent, KeInitializeEvent, KeSetEvent
from ntsim.nt.ke.wait import WAIT_ANY, ki_wait
from ntsim.nt.ps.system_thread import psp_create_system_thread
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.nt.cc.cache_map import CacheMap
    from ntsim.nt.kernel import Kernel

SECOND_100NS = 10_000_000
LEAST_PAGES = 16
"""A pass writes an eighth of the dirty pages, but at least this many (inferred)."""

WR_FREE_PAGE = 8
_LINKS = SHARED_CACHE_MAP.offset_of("SharedCacheMapLinks")


class LazyWriter:
    """The thread, the event that there is work, and the pause between passes."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        block = nt.allocate_pool(KEVENT.size + 8, "CcLw")
        self.event = KEVENT.at(nt.mmu, block)
        self.pause = LARGE_INTEGER.at(nt.mmu, block + KEVENT.size)
        self.pause.QuadPart = -SECOND_100NS
        KeInitializeEvent(nt, self.event, 0, False)
        start = nt.internal_address(cc_lazy_writer)
        work = lambda: cc_lazy_writer(nt, self)  # noqa: E731
        nt.ps.start_thread(psp_create_system_thread(nt, nt.ps.system, work, start, 8))


def cc_wake_lazy_writer(nt: Kernel) -> None:
    """There are dirty pages, or a file to let go."""
    if nt.cc.lazy is None:
        nt.cc.lazy = LazyWriter(nt)
    KeSetEvent(nt, nt.cc.lazy.event, 0, False)


def cc_lazy_writer(nt: Kernel, writer: LazyWriter) -> None:
    """What the thread does, for ever."""
    while True:
        ki_wait(nt, [int(writer.event)], WAIT_ANY, WR_FREE_PAGE, 0, False, None)
        KeClearEvent(nt, writer.event)
        while cc_work(nt):
            if not any(cache_map.closing for cache_map in nt.cc.maps.values()):
                ki_wait(nt, [], WAIT_ANY, WR_FREE_PAGE, 0, False, writer.pause)
            cc_lazy_pass(nt)
            if nt.cc.deferred:
                cc_post_deferred(nt)


def cc_work(nt: Kernel) -> list[CacheMap]:
    """The files that a pass has to do with."""
    return [
        cache_map
        for cache_map in nt.cc.maps.values()
        if cache_map.closing or (cache_map.write_behind and cc_writable(cache_map))
    ]


def cc_writable(cache_map: CacheMap) -> list[int]:
    """Dirty pages that the lazy writer may write: not pinned, not of a temporary file."""
    file = FILE_OBJECT.at(cache_map.nt.mmu, cache_map.file)
    if not cache_map.dirty or file._v.Flags & c.FO_TEMPORARY_FILE:
        return []
    pinned = [bcb for bcb in cache_map.bcbs if bcb.pinned]
    free = sorted(cache_map.dirty)
    return [page for page in free if not any(b.covers(page, page + 1) for b in pinned)]


def cc_lazy_pass(nt: Kernel) -> None:
    """Write files in turn until enough pages are written; those to let go always."""
    left = max(sum(len(m.dirty) for m in nt.cc.maps.values()) // 8, LEAST_PAGES)
    for cache_map in cc_work(nt):
        pages = sorted(cache_map.dirty) if cache_map.closing else cc_writable(cache_map)[:left]
        if cache_map.closing or left > 0:
            cc_write_behind(cache_map, pages)
            left -= len(pages)
        if cache_map.closing:
            cc_delete(cache_map)


def cc_write_behind(cache_map: CacheMap, pages: list[int]) -> None:
    """Write pages between the file system's two callbacks."""
    nt, v = cache_map.nt, cache_map.s._v
    if not pages:
        return
    callbacks = CACHE_MANAGER_CALLBACKS.at(nt.mmu, v.Callbacks)._v
    if not nt.call(callbacks.AcquireForLazyWrite, v.LazyWriteContext, 1) & 0xFF:
        return
    v.LazyWritePassCount += 1
    status, _ = cc_write(cache_map, pages)
    if status:
        nt.emit(DelayedWriteFailed, len(pages), ntstatus.status_name(status))
        cache_map.forget_dirty(set(pages))
    cc_clean_bcbs(cache_map)
    nt.call(callbacks.ReleaseFromLazyWrite, v.LazyWriteContext)


def cc_delete(cache_map: CacheMap) -> None:
    """The cache map goes: its data and views, the reference to the file; who waits is told."""
    nt, v = cache_map.nt, cache_map.s._v
    del nt.cc.maps[cache_map.va]
    cache_map.pointers._v.SharedCacheMap = 0
    for bcb in list(cache_map.bcbs):
        bcb.b._v.Dirty = bcb.b._v.PinCount = 0
        cc_forget_bcb(bcb)
    cache_map.unmap_all()
    lists.remove(nt.mmu, cache_map.va + _LINKS)
    event = v.UninitializeEvent
    nt.free_pool(cache_map.va)
    nt.ob.dereference(cache_map.file)
    while event:
        waiting = CACHE_UNINITIALIZE_EVENT.at(nt.mmu, event)
        event = waiting._v.Next
        KeSetEvent(nt, waiting.Event, 0, False)
