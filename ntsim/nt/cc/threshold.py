"""How many dirty pages there may be, and the writes that wait until there are fewer.

The threshold is an eighth of memory, as on small systems (inferred for others). What is deferred is
posted in order after a pass of the lazy writer. Source: WDK CcCanIWrite, CcDeferWrite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ntsim.abi.ke import KEVENT
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.ke.objects import KeSetEvent

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


@dataclass(slots=True)
class Deferred:
    """A write that waits: an event to set, or a routine to call with two contexts."""

    pages: int
    event: int = 0
    routine: int = 0
    contexts: tuple[int, int] = (0, 0)


def cc_threshold(nt: Kernel) -> int:
    """CcDirtyPageThreshold, in pages."""
    return int(nt.mm.ram.size) // PAGE_SIZE // 8


def cc_room(nt: Kernel, pages: int) -> bool:
    """Whether so many more dirty pages are welcome."""
    dirty = sum(len(cache_map.dirty) for cache_map in nt.cc.maps.values())
    return dirty + pages <= cc_threshold(nt)


def cc_post_deferred(nt: Kernel) -> None:
    """Let those go for whom there is room, first come first served."""
    waiting = nt.cc.deferred
    while waiting and cc_room(nt, waiting[0].pages):
        first = waiting.popleft()
        if first.event:
            KeSetEvent(nt, KEVENT.at(nt.mmu, first.event), 0, False)
        else:
            nt.call(first.routine, *first.contexts)
