"""Holding writers back: CcCanIWrite and CcDeferWrite.

A write counts for at most 64 KiB. Source: WDK CcCanIWrite, CcDeferWrite; ReactOS
ntoskrnl/cc/copy.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.ke import KEVENT
from ntsim.abi.scalars import BOOLEAN, PVOID, ULONG
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.cc.lazy import cc_wake_lazy_writer
from ntsim.nt.cc.threshold import Deferred, cc_post_deferred, cc_room
from ntsim.nt.exports import export
from ntsim.nt.ke.objects import KeInitializeEvent
from ntsim.nt.ke.wait import WAIT_ANY, ki_wait

if TYPE_CHECKING:
    from ntsim.abi.io import PFILE_OBJECT
    from ntsim.nt.kernel import Kernel

MOST_CHARGED = 0x1_0000 // PAGE_SIZE
WR_FREE_PAGE, SYNCHRONIZATION = 8, 1


def cc_charge(size: int) -> int:
    """The pages that a write of `size` bytes counts for."""
    return min(-(-size // PAGE_SIZE) + 1, MOST_CHARGED)


@export(irql="<= APC")
def CcCanIWrite(
    nt: Kernel, FileObject: PFILE_OBJECT, BytesToWrite: ULONG, Wait: BOOLEAN, Retrying: BOOLEAN
) -> BOOLEAN:
    """Whether a write is accepted now; with Wait it is in the end.

    Who retries goes before those that come later. Source: WDK CcCanIWrite.
    """
    pages = cc_charge(BytesToWrite)
    if cc_room(nt, pages) and (Retrying or not nt.cc.deferred):
        return True
    if not Wait:
        return False
    block = nt.allocate_pool(KEVENT.size, "CcDw")
    if not block:
        return False
    KeInitializeEvent(nt, KEVENT.at(nt.mmu, block), SYNCHRONIZATION, False)
    enter(nt, Deferred(pages, event=block), bool(Retrying))
    ki_wait(nt, [block], WAIT_ANY, WR_FREE_PAGE, 0, False, None)
    nt.free_pool(block)
    return True


def enter(nt: Kernel, write: Deferred, first: bool) -> None:
    """Queue a write, at the head if it was tried before."""
    if first:
        nt.cc.deferred.appendleft(write)
    else:
        nt.cc.deferred.append(write)
    cc_wake_lazy_writer(nt)


@export(irql="<= APC")
def CcDeferWrite(
    nt: Kernel,
    FileObject: PFILE_OBJECT,
    PostRoutine: PVOID,
    Context1: PVOID,
    Context2: PVOID,
    BytesToWrite: ULONG,
    Retrying: BOOLEAN,
) -> None:
    """Have PostRoutine(Context1, Context2) called when a write is accepted: at once if it is now.

    Source: WDK CcDeferWrite.
    """
    pages = cc_charge(BytesToWrite)
    contexts = (int(Context1), int(Context2))
    enter(nt, Deferred(pages, 0, int(PostRoutine), contexts), bool(Retrying))
    cc_post_deferred(nt)
