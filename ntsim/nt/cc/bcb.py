"""Buffer control blocks: page ranges of a cached file that somebody has pinned or made dirty.

A block holds a resource that those who pin share, or hold alone. It goes when nobody has it pinned
and it is clean. A range that touches several blocks is pinned through an overlap block, which
stands for them. Source: ntifs.h PUBLIC_BCB; ReactOS kmtests CcPinRead_drv.c, CcPinMappedData_drv.c.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ntsim.abi.cc import BCB
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.ex.resource import (
    ExDeleteResourceLite,
    ExInitializeResourceLite,
    exp_acquire_exclusive,
    exp_acquire_shared,
    exp_release,
)
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.nt.cc.cache_map import CacheMap, View
    from ntsim.nt.kernel import Kernel

BCB_NODE, OVERLAP_NODE = 0x2FD, 0x2FA
_LINKS = BCB.offset_of("BcbLinks")


@dataclass(eq=False, slots=True)
class Bcb:
    """Pages [first, last) at `va`; `parts` are the blocks that an overlap block stands for."""

    cache_map: CacheMap
    va: int
    first: int
    last: int
    parts: list[Bcb] = field(default_factory=list)

    @property
    def b(self) -> Any:
        return BCB.at(self.cache_map.nt.mmu, self.va)

    @property
    def pinned(self) -> bool:
        return bool(self.b._v.PinCount)

    def covers(self, first: int, last: int) -> bool:
        return self.first <= first and last <= self.last

    def overlaps(self, first: int, last: int) -> bool:
        return self.first < last and first < self.last


def cc_new_bcb(cache_map: CacheMap, node: int, first: int, last: int, view: View) -> Bcb:
    """A block for pages [first, last), in the map's list, from the end of the file down."""
    nt = cache_map.nt
    va = nt.ex.pool.allocate(BCB.size, "CcBc", zero=True)
    made = Bcb(cache_map, va, first, last)
    v = made.b._v
    v.NodeTypeCode, v.ByteLength = node, (last - first) * PAGE_SIZE
    v.FileOffset_QuadPart, v.BeyondLastByte_QuadPart = first * PAGE_SIZE, last * PAGE_SIZE
    v.SharedCacheMap, v.BaseAddress, v.Vacb = cache_map.va, view.at(first), view.vacb(first)
    if node == BCB_NODE:
        ExInitializeResourceLite(nt, made.b.Resource)
        following = next((b for b in cache_map.bcbs if b.first < first), None)
        head = int(cache_map.s.BcbList) if following is None else following.va + _LINKS
        lists.insert_tail(nt.mmu, head, va + _LINKS)
        cache_map.bcbs.append(made)
        cache_map.bcbs.sort(key=lambda bcb: -bcb.first)
    return made


def cc_acquire_bcb(bcb: Bcb, exclusive: bool, wait: bool) -> bool:
    """Pin the block once more; False if another thread is in the way and the caller cannot wait."""
    nt, b = bcb.cache_map.nt, bcb.b
    b._v.PinCount += 1
    if exclusive:
        held = exp_acquire_exclusive(nt, b.Resource, wait)
    else:
        held = exp_acquire_shared(nt, b.Resource, wait, False)
    if not held:
        b._v.PinCount -= 1
        cc_forget_bcb(bcb)
    return held


def cc_release_bcb(bcb: Bcb, owner: int) -> None:
    """Undo one pin of a thread, or of the owner pointer that it was handed to."""
    b = bcb.b
    exp_release(bcb.cache_map.nt, b.Resource, owner)
    b._v.PinCount -= 1
    cc_forget_bcb(bcb)


def cc_forget_bcb(bcb: Bcb) -> None:
    """Free a block that nobody has pinned and that is clean."""
    v = bcb.b._v
    if v.PinCount or v.Dirty or bcb not in bcb.cache_map.bcbs:
        return
    nt = bcb.cache_map.nt
    bcb.cache_map.bcbs.remove(bcb)
    lists.remove(nt.mmu, bcb.va + _LINKS)
    ExDeleteResourceLite(nt, bcb.b.Resource)
    v.NodeTypeCode = 0
    nt.free_pool(bcb.va)


def cc_clean_bcbs(cache_map: CacheMap) -> None:
    """Pages were written: blocks without a dirty page are clean."""
    for bcb in list(cache_map.bcbs):
        v = bcb.b._v
        if v.Dirty and cache_map.dirty.isdisjoint(range(bcb.first, bcb.last)):
            v.Dirty = 0
            cc_forget_bcb(bcb)


def cc_find_bcb(nt: Kernel, va: int) -> Bcb | None:
    """The block at an address, plain or overlap."""
    found = nt.cc.overlaps.get(va)
    if found is None:
        cache_map = nt.cc.maps.get(BCB.at(nt.mmu, va)._v.SharedCacheMap)
        found = next((b for b in cache_map.bcbs if b.va == va), None) if cache_map else None
    return found
