"""The cached files of one machine."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.cc import SHARED_CACHE_MAP
from ntsim.hw.mmu import EXECUTE
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.cc.cache_map import CacheMap
from ntsim.nt.cc.paging import cc_page_in
from ntsim.nt.rtl import lists
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.nt.cc.bcb import Bcb
    from ntsim.nt.kernel import Kernel

_LINKS = SHARED_CACHE_MAP.offset_of("SharedCacheMapLinks")


class Cc:
    """Cache maps by address, and the lists that Windows keeps of them; writes that wait."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.maps: dict[int, CacheMap] = {}
        self.overlaps: dict[int, Bcb] = {}
        self.lazy: Any = None
        self.deferred: deque[Any] = deque()
        self.list_head = 0

    def of_file(self, file: Any) -> CacheMap | None:
        """The cache map of a FILE_OBJECT; a fault if it is none."""
        pointers = file.SectionObjectPointer
        return self.maps.get(pointers._v.SharedCacheMap) if pointers else None

    def cached(self, file: Any) -> CacheMap:
        """The same for callers that must have started caching."""
        found = self.of_file(file)
        if found is None:
            reason = "the file is not cached: CcInitializeCacheMap first"
            raise StructuredException(ntstatus.STATUS_ACCESS_VIOLATION, (0, 0), 0, reason)
        return found

    def of_pointers(self, pointers: Any) -> CacheMap | None:
        """The cache map that SECTION_OBJECT_POINTERS name."""
        return self.maps.get(pointers._v.SharedCacheMap)

    def create(self, file: Any, sizes: Any) -> CacheMap:
        """A file's shared cache map, with a reference to the file object that began it."""
        nt = self.nt
        if not self.list_head:
            self.list_head = nt.allocate_pool(16, "CcHd")
            lists.initialize(nt.mmu, self.list_head)
        va = nt.ex.pool.allocate(SHARED_CACHE_MAP.size, "CcSc", zero=True)
        made = self.maps[va] = CacheMap(nt, va, file)
        made.resize(sizes)
        lists.insert_tail(nt.mmu, self.list_head, va + _LINKS)
        return made

    def resolve(self, page: int, error: int) -> bool:
        """A fault on a page of a view that is not resident: read it; False if it is none.

        A read that fails raises STATUS_IN_PAGE_ERROR.
        """
        for cache_map in self.maps.values():
            for view in cache_map.views:
                if not error & EXECUTE and view.va <= page < view.va + view.count * PAGE_SIZE:
                    number = view.first + (page - view.va) // PAGE_SIZE
                    self.read_page(cache_map, number, page)
                    return True
        return False

    def read_page(self, cache_map: CacheMap, number: int, va: int) -> None:
        try:
            cc_page_in(cache_map, number, number + 1)
        except StructuredException as error:
            code, status = ntstatus.STATUS_IN_PAGE_ERROR, error.ExceptionCode
            raise StructuredException(code, (0, va, status), 0, str(error)) from None
