"""The memory manager's state: frames, the shared kernel half, regions, the paging file."""

from __future__ import annotations

from ntsim.hw.mmu import Mmu
from ntsim.hw.paging import (
    PTE_ACCESSED,
    PTE_PRESENT,
    PTE_WRITE,
    SELF_MAP,
    SELF_MAP_INDEX,
    PageTables,
    entry_va,
)
from ntsim.hw.ram import Ram
from ntsim.nt.mm import layout
from ntsim.nt.mm.frames import Frames
from ntsim.nt.mm.pfn import mi_map_database
from ntsim.nt.mm.system_space import Region, SystemSpace

_TABLE = PTE_PRESENT | PTE_WRITE | PTE_ACCESSED


class Mm:
    """Created first: everything else lives in memory that it hands out."""

    def __init__(self, ram: Ram, seed: int) -> None:
        self.ram = ram
        self.frames = Frames(ram, seed)
        self.tables = PageTables(ram, self.frames.take)
        self.mmu = Mmu(ram, self.tables)
        self.pfn = self.frames.pfn
        self.mmu.mapped, self.tables.placed = self.pfn.mapped, self.pfn.placed
        self.system_root = self.frames.take_at(layout.SYSTEM_PML4)
        self._share_kernel_half()
        self.system = SystemSpace(self.mmu, self.frames, self.system_root)
        mi_map_database(self, layout.PFN_DATABASE)
        self.processor_region = Region(layout.PROCESSOR_REGION, layout.PROCESSOR_REGION_SIZE)
        self.stacks = Region(layout.KERNEL_STACKS, layout.KERNEL_STACKS_SIZE)
        self.nonpaged = Region(layout.NONPAGED_POOL, layout.NONPAGED_POOL_SIZE)
        self.paged = Region(layout.PAGED_POOL, layout.PAGED_POOL_SIZE)
        self.system_ptes = Region(layout.SYSTEM_PTES, layout.SYSTEM_PTES_SIZE)
        self.images = Region(layout.DRIVER_IMAGES, layout.DRIVER_IMAGES_SIZE)
        self.cache = Region(layout.SYSTEM_CACHE, layout.SYSTEM_CACHE_SIZE)
        self.paging_file: dict[int, bytes] = {}
        self._slots = 0
        self.contiguous: dict[int, int] = {}
        self.io_space: dict[int, int] = {}
        self.open_bus: dict[int, tuple[int, int, int]] = {}  # page: physical, pages, frame
        self.noncached: dict[int, int] = {}
        self.system_views: dict[int, tuple[int, int]] = {}
        self.reserved_mappings: dict[int, tuple[int, int]] = {}

    def _share_kernel_half(self) -> None:
        """Fill the upper half of the System PML4 for good, so that processes never diverge."""
        words = self.ram.u64
        for index in range(256, 512):
            entry = self.system_root if index == SELF_MAP_INDEX else self.frames.take()
            words[(self.system_root >> 3) + index] = entry | _TABLE
            self.pfn.placed(entry, entry_va(index << 39, 4))

    def new_root(self) -> int:
        """A PML4 for a new process: shared kernel half, own self-map, empty user half."""
        root = self.frames.take()
        words = self.ram.u64
        first, source = (root >> 3) + 256, (self.system_root >> 3) + 256
        words[first : first + 256] = words[source : source + 256]
        words[(root >> 3) + SELF_MAP_INDEX] = root | _TABLE
        self.pfn.placed(root, entry_va(SELF_MAP, 4))
        return root

    def map_shared_user_data(self) -> int:
        """KUSER_SHARED_DATA: one frame at its kernel address; returns its physical address."""
        pa = self.frames.take()
        self.system.map(layout.KUSER_SHARED_DATA_VA, [pa])
        self.mmu.map_raw(layout.KUSER_SHARED_DATA_VA, self.ram.address + pa, [pa])
        return pa

    def next_slot(self) -> int:
        """A fresh paging-file slot."""
        self._slots += 1
        return self._slots
