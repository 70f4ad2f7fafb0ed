"""Starting and ending the caching of a file, and its sizes.

Source: WDK CcInitializeCacheMap, CcUninitializeCacheMap, CcSetFileSizes,
CcSetAdditionalCacheAttributes; ReactOS kmtests ntos_cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi.cc import PRIVATE_CACHE_MAP
from ntsim.abi.scalars import BOOLEAN, PVOID
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.cc.lazy import cc_delete, cc_wake_lazy_writer
from ntsim.nt.exports import export
from ntsim.nt.ke.objects import KeSetEvent
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.abi.cc import (
        PCACHE_MANAGER_CALLBACKS,
        PCACHE_UNINITIALIZE_EVENT,
        PCC_FILE_SIZES,
    )
    from ntsim.abi.io import PFILE_OBJECT
    from ntsim.abi.rtl import PLARGE_INTEGER
    from ntsim.nt.cc.cache_map import CacheMap
    from ntsim.nt.kernel import Kernel

PRIVATE_NODE = 0x2FE
_LINKS = PRIVATE_CACHE_MAP.offset_of("PrivateLinks")


def cc_close(cache_map: CacheMap, file: Any) -> None:
    """A file object's private cache map goes."""
    nt, private = cache_map.nt, file._v.PrivateCacheMap
    if private:
        lists.remove(nt.mmu, private + _LINKS)
        nt.free_pool(private)
        file._v.PrivateCacheMap = 0
        cache_map.openers.remove(int(file))
        cache_map.s._v.OpenCount -= 1


@export(irql="<= APC")
def CcInitializeCacheMap(
    nt: Kernel,
    FileObject: PFILE_OBJECT,
    FileSizes: PCC_FILE_SIZES,
    PinAccess: BOOLEAN,
    Callbacks: PCACHE_MANAGER_CALLBACKS,
    LazyWriteContext: PVOID,
) -> None:
    """Cache a file for this file object; the first one makes the file's shared cache map.

    FileObject->SectionObjectPointer is the file system's and must be there: without it, an access
    violation. Source: WDK CcInitializeCacheMap.
    """
    pointers = FileObject.SectionObjectPointer._v
    cache_map = nt.cc.maps.get(pointers.SharedCacheMap)
    if cache_map is None:
        cache_map = nt.cc.create(FileObject, FileSizes)
        cache_map.pin_access = bool(PinAccess)
        v = cache_map.s._v
        v.Callbacks, v.LazyWriteContext = int(Callbacks), LazyWriteContext
        pointers.SharedCacheMap = cache_map.va
    cache_map.closing = False
    if not FileObject._v.PrivateCacheMap:
        va = nt.ex.pool.allocate(PRIVATE_CACHE_MAP.size, "CcPr", zero=True)
        private = PRIVATE_CACHE_MAP.at(nt.mmu, va)._v
        private.UlongFlags, private.ReadAheadMask = PRIVATE_NODE, PAGE_SIZE - 1
        private.FileObject = int(FileObject)
        lists.insert_tail(nt.mmu, int(cache_map.s.PrivateList), va + _LINKS)
        FileObject._v.PrivateCacheMap = va
        cache_map.openers.append(int(FileObject))
        cache_map.s._v.OpenCount += 1


@export(irql="<= APC")
def CcUninitializeCacheMap(
    nt: Kernel,
    FileObject: PFILE_OBJECT,
    TruncateSize: PLARGE_INTEGER,
    UninitializeEvent: PCACHE_UNINITIALIZE_EVENT,
) -> BOOLEAN:
    """The file object does not use the cache any more; TRUE if the cache map went with it.

    The last one leaves dirty data to the lazy writer, which writes it (also when TruncateSize is
    given: CcPinRead_drv.c, test 6), deletes the map and sets UninitializeEvent. Until then the
    file's SECTION_OBJECT_POINTERS must stay. Of a file that is not cached, or while others use the
    cache, the event is set at once. Source: WDK CcUninitializeCacheMap.
    """
    cache_map = nt.cc.of_file(FileObject)
    if cache_map is not None:
        cc_close(cache_map, FileObject)
    if cache_map is None or cache_map.s._v.OpenCount:
        if UninitializeEvent:
            KeSetEvent(nt, UninitializeEvent.Event, 0, False)
        return False
    v = cache_map.s._v
    if TruncateSize:
        v.FileSize_QuadPart = TruncateSize.QuadPart
    if UninitializeEvent:
        UninitializeEvent._v.Next = v.UninitializeEvent
        v.UninitializeEvent = int(UninitializeEvent)
    if cache_map.dirty:
        cache_map.closing = True
        cc_wake_lazy_writer(nt)
        return False
    cc_delete(cache_map)
    return True


@export(irql="<= APC")
def CcSetFileSizes(nt: Kernel, FileObject: PFILE_OBJECT, FileSizes: PCC_FILE_SIZES) -> None:
    """The file grew or shrank: the section grows, pages beyond a smaller size are thrown away.

    Pages that are pinned or mapped stay. Of a file that is not cached, nothing. Source: WDK.
    """
    cache_map = nt.cc.of_file(FileObject)
    if cache_map is None:
        return
    before = cache_map.s._v.FileSize_QuadPart
    cache_map.resize(FileSizes)
    size = FileSizes.FileSize.QuadPart
    if size < before:
        beyond = -(-size // PAGE_SIZE)
        for page in sorted(page for page in cache_map.frames if page >= beyond):
            if not cache_map.in_use(page, page + 1):
                cache_map.drop(page)


@export(irql="<= APC")
def CcSetAdditionalCacheAttributes(
    nt: Kernel, FileObject: PFILE_OBJECT, DisableReadAhead: BOOLEAN, DisableWriteBehind: BOOLEAN
) -> None:
    """Keep the lazy writer from this file, or let it; nothing is read ahead here. Source: WDK."""
    cache_map = nt.cc.cached(FileObject)
    cache_map.write_behind = not DisableWriteBehind
    if cache_map.write_behind and cache_map.dirty:
        cc_wake_lazy_writer(nt)
