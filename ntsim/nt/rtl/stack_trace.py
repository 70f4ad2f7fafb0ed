"""Return addresses on the current stack: RtlCaptureStackBackTrace, RtlWalkFrameChain.

Source: WDK RtlCaptureStackBackTrace (ntifs.h); ReactOS kmtests RtlStack.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import PVOID, ULONG, USHORT
from ntsim.nt.exports import OutOpt, export
from ntsim.nt.ki import frames
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

USER_ONLY = 1
MOST_FRAMES = 0xFFFF


def rtlp_addresses(nt: Kernel, routine: str) -> list[int]:
    """Where each routine on the stack goes on, from the caller of `routine` outwards."""
    found = frames.capture(nt)
    at = next(index for index, frame in enumerate(found) if frame.symbol == routine)
    return [frame.address for frame in found[at + 1 :] if not frame.user]


def rtlp_store(nt: Kernel, at: int, addresses: list[int]) -> int:
    for index, address in enumerate(addresses):
        nt.mmu.write_word(at + 8 * index, address)
    return len(addresses)


@export(irql="any")
def RtlCaptureStackBackTrace(
    nt: Kernel,
    FramesToSkip: ULONG,
    FramesToCapture: ULONG,
    BackTrace: PVOID,
    BackTraceHash: OutOpt[ULONG],
) -> USHORT:
    """Store up to FramesToCapture addresses, the caller's first; how many.

    The hash is their sum, stored if there are any. Source: WDK RtlCaptureStackBackTrace; ReactOS
    kmtests RtlStack.c.
    """
    found = rtlp_addresses(nt, "RtlCaptureStackBackTrace")[FramesToSkip:]
    found = found[: min(FramesToCapture, MOST_FRAMES)]
    if BackTraceHash and found:
        BackTraceHash[0] = sum(found) & 0xFFFF_FFFF
    return rtlp_store(nt, BackTrace, found)


@export(irql="any")
def RtlWalkFrameChain(nt: Kernel, Callers: PVOID, Count: ULONG, Flags: ULONG) -> ULONG:
    """Store up to Count addresses; how many. Of the user-mode stack (Flags 1): none are found.

    An exception while it stores ends the walk. Source: ReactOS kmtests RtlStack.c; ntoskrnl's
    export of that name.
    """
    found = [] if Flags & USER_ONLY else rtlp_addresses(nt, "RtlWalkFrameChain")
    try:
        return rtlp_store(nt, Callers, found[:Count])
    except StructuredException:
        return 0
