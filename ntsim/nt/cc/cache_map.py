"""A cached file: its shared cache map, frames and views.

Source: Windows Internals 7, part 2, chapter 11, "Cache data structures"; layouts from the symbols.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.cc import SHARED_CACHE_MAP, VACB
from ntsim.abi.io import FILE_OBJECT, SECTION_OBJECT_POINTERS
from ntsim.abi.wdm_constants import VACB_MAPPING_GRANULARITY
from ntsim.hw.paging import PTE_NX
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.mm.frames import OutOfFrames
from ntsim.nt.mm.protection import PTE_PROTOTYPE
from ntsim.nt.mm.system_space import VALID
from ntsim.nt.rtl import lists
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

SHARED_NODE = 0x2FF
VIEW_PAGES = VACB_MAPPING_GRANULARITY // PAGE_SIZE
INITIAL_VACBS = 4
LARGEST_INDEX = 128
"""Views of a file that one array of pointers can hold (32 MiB); Windows nests arrays beyond it."""


@dataclass(eq=False, slots=True)
class View:
    """Pages [first, first+count) of a file at `va`; `vacbs` is the address of their VACBs."""

    va: int
    first: int
    count: int
    vacbs: int

    def covers(self, first: int, last: int) -> bool:
        return self.first <= first and last <= self.first + self.count

    def at(self, page: int) -> int:
        """The address of a page of the file."""
        return self.va + (page - self.first) * PAGE_SIZE

    def vacb(self, page: int) -> int:
        return self.vacbs + (page - self.first) // VIEW_PAGES * VACB.size


class CacheMap:
    """A cached file. `frames` are its resident pages, `dirty` those that are to be written.

    `openers` are the file objects with a private cache map, `reading` the pages that are being read
    with the event that tells of the end. A `closing` map goes when it is clean.
    """

    def __init__(self, nt: Kernel, va: int, file: Any) -> None:
        self.nt, self.va, self.file = nt, va, int(file)
        self.s: Any = SHARED_CACHE_MAP.at(nt.mmu, va)
        self.frames: dict[int, int] = {}
        self.dirty: set[int] = set()
        self.views: list[View] = []
        self.bcbs: list[Any] = []
        self.openers: list[int] = []
        self.reading: dict[int, int] = {}
        self.pin_access, self.closing = False, False
        self.write_behind = True
        v = self.s._v
        v.NodeTypeCode, v.NodeByteSize = SHARED_NODE, SHARED_CACHE_MAP.size
        v.FileObjectFastRef_Object = int(file)
        lists.initialize(nt.mmu, int(self.s.BcbList))
        lists.initialize(nt.mmu, int(self.s.PrivateList))
        v.Vacbs = va + SHARED_CACHE_MAP.offset_of("InitialVacbs")
        nt.ob.reference(int(file))

    @property
    def pointers(self) -> Any:
        """The file's SECTION_OBJECT_POINTERS."""
        file = FILE_OBJECT.at(self.nt.mmu, self.file)
        return SECTION_OBJECT_POINTERS.at(self.nt.mmu, file._v.SectionObjectPointer)

    def resize(self, sizes: Any) -> None:
        """Take over CC_FILE_SIZES; the section only grows, by whole views."""
        v, new = self.s._v, sizes._v
        section = -(-new.AllocationSize_QuadPart // VACB_MAPPING_GRANULARITY)
        v.FileSize_QuadPart = new.FileSize_QuadPart
        v.ValidDataLength_QuadPart = v.ValidDataGoal_QuadPart = new.ValidDataLength_QuadPart
        v.SectionSize_QuadPart = max(
            v.SectionSize_QuadPart, section * VACB_MAPPING_GRANULARITY, VACB_MAPPING_GRANULARITY
        )
        self.index_views()

    # Views

    def view(self, first: int, last: int) -> View:
        """A view that shows pages [first, last) side by side; OutOfFrames is the caller's."""
        for view in self.views:
            if view.covers(first, last):
                return view
        nt = self.nt
        start = first // VIEW_PAGES * VIEW_PAGES
        pieces = -(-(last - start) // VIEW_PAGES)
        count = pieces * VIEW_PAGES
        vacbs = nt.ex.pool.allocate(pieces * VACB.size, "CcVa", zero=True)
        made = View(nt.mm.cache.reserve(count), start, count, vacbs)
        for piece in range(pieces):
            v = VACB.at(nt.mmu, vacbs)[piece]._v
            v.BaseAddress, v.SharedCacheMap = made.va + piece * VACB_MAPPING_GRANULARITY, self.va
            v.FileOffset_QuadPart = start * PAGE_SIZE + piece * VACB_MAPPING_GRANULARITY
        self.views.append(made)
        for page in range(start, start + count):
            self.map_page(made, page)
        self.index_views()
        return made

    def map_page(self, view: View, page: int) -> None:
        """Write a page's entry in a view: its frame, or that it has to be read."""
        frame = self.frames.get(page)
        entry = PTE_PROTOTYPE if frame is None else frame | VALID | PTE_NX
        self.nt.mmu.write_entry(self.nt.mm.system_root, view.at(page), entry)

    def show(self, page: int) -> None:
        """A page came or went: every view that has it follows."""
        for view in self.views:
            if view.covers(page, page + 1):
                self.map_page(view, page)

    def index_views(self) -> None:
        """Let SHARED_CACHE_MAP.Vacbs name the view of each 256 KiB, as far as one array goes."""
        nt, v = self.nt, self.s._v
        count = v.SectionSize_QuadPart // VACB_MAPPING_GRANULARITY
        initial = self.va + SHARED_CACHE_MAP.offset_of("InitialVacbs")
        if v.Vacbs not in (0, initial):
            nt.free_pool(v.Vacbs)
        v.Vacbs = initial
        if count > INITIAL_VACBS:
            size = 8 * min(count, LARGEST_INDEX)
            v.Vacbs = nt.ex.pool.allocate(size, "CcVa", zero=True) if count <= LARGEST_INDEX else 0
        for view in reversed(self.views):
            for piece in range(view.count // VIEW_PAGES):
                number = view.first // VIEW_PAGES + piece
                if v.Vacbs and number < max(count, INITIAL_VACBS):
                    nt.mmu.write_word(v.Vacbs + 8 * number, view.vacbs + piece * VACB.size)

    def in_use(self, first: int, last: int) -> bool:
        """Whether somebody has mapped, pinned or locked one of the pages [first, last)."""
        locks = self.nt.mm.frames.locks
        held = (page for page, frame in self.frames.items() if frame in locks)
        if locks and any(first <= page < last for page in held):
            return True
        for view in self.views:
            for page in range(view.first, view.first + view.count, VIEW_PAGES):
                vacb = VACB.at(self.nt.mmu, view.vacb(page))._v
                active = vacb.FileOffset_QuadPart & 0xFFFF
                if active and page < last and first < page + VIEW_PAGES:
                    return True
        return any(bcb.pinned and bcb.overlaps(first, last) for bcb in self.bcbs)

    # Pages

    def missing(self, first: int, last: int) -> list[int]:
        return [page for page in range(first, last) if page not in self.frames]

    def new_frame(self, zero: bool = True) -> int:
        """A frame for a page; STATUS_INSUFFICIENT_RESOURCES is raised when memory is short."""
        try:
            return self.nt.mm.frames.take(zero)
        except OutOfFrames:
            code = ntstatus.STATUS_INSUFFICIENT_RESOURCES
            raise StructuredException(code, reason="no memory for the cache") from None

    def make_zero(self, pages: list[int]) -> None:
        """Resident pages of zeros, without reading them."""
        for page in pages:
            self.frames[page] = self.new_frame()
            self.show(page)

    def drop(self, page: int) -> None:
        """The page is no longer resident, its content lost."""
        self.forget_dirty({page})
        frame = self.frames.pop(page, None)
        if frame is not None:
            self.show(page)
            self.nt.mm.frames.give(frame)

    def mark_dirty(self, first: int, last: int) -> None:
        self.dirty.update(range(first, last))
        self.s._v.DirtyPages = len(self.dirty)

    def forget_dirty(self, pages: set[int]) -> None:
        self.dirty -= pages
        self.s._v.DirtyPages = len(self.dirty)

    def unmap_all(self) -> None:
        """Views and frames go."""
        nt = self.nt
        self.forget_dirty(set(self.dirty))
        for view in self.views:
            nt.mm.system.unmap(view.va, view.count)
            nt.mm.cache.release(view.va, view.count)
            nt.free_pool(view.vacbs)
        self.views.clear()
        for frame in self.frames.values():
            nt.mm.frames.give(frame)
        self.frames.clear()
        initial = self.va + SHARED_CACHE_MAP.offset_of("InitialVacbs")
        if self.s._v.Vacbs not in (0, initial):
            nt.free_pool(self.s._v.Vacbs)
