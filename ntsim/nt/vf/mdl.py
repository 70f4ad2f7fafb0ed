"""Automatic checks of MDLs and mappings.

Source: WDK Bug Check 0xC4, parameter 1 = 0x70 to 0x7F, 0x81, 0x82, 0xB0, 0xB2 to 0xB6, 0xB8,
0xB9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import wdm_constants as c
from ntsim.abi.irql import level_name
from ntsim.nt.ke.irql import APC_LEVEL, DISPATCH_LEVEL
from ntsim.nt.mm import layout
from ntsim.nt.mm.mdl import mdl_frames
from ntsim.nt.vf.hooks import AUTOMATIC, before

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier

USER_MODE = 1
LOCKED, NONPAGED, PARTIAL = (
    c.MDL_PAGES_LOCKED, c.MDL_SOURCE_IS_NONPAGED_POOL, c.MDL_PARTIAL
)  # fmt: skip
MAPPED, CAN_FAIL = c.MDL_MAPPED_TO_SYSTEM_VA, c.MDL_MAPPING_CAN_FAIL
NOT_TO_LOCK = MAPPED | LOCKED | NONPAGED | PARTIAL | c.MDL_IO_SPACE


def vi_level(vf: Verifier, kind: int, highest: int, two: int, three: int) -> None:
    """Stop if the level is above `highest`; parameter 2 is the level."""
    if vf.irql > highest:
        why = f"{vf.routine} was called at {level_name(vf.irql)}: {level_name(highest)} at most."
        vf.violation(kind, vf.irql, two, three, why=why)


@before(AUTOMATIC, "MmProbeAndLockPages")
def vi_probe_and_lock(vf: Verifier, nt: Kernel, Mdl: Any, Mode: int, *rest: int) -> None:
    """0x70: level; 0xB0: an MDL that is locked, or was built otherwise."""
    vi_level(vf, 0x70, DISPATCH_LEVEL, int(Mdl), Mode)
    flags = Mdl._v.MdlFlags
    if flags & NOT_TO_LOCK:
        why = f"MmProbeAndLockPages was given an MDL with flags {flags:#x}: it is locked or built."
        vf.violation(0xB0, int(Mdl), flags, flags & NOT_TO_LOCK, why=why)


@before(AUTOMATIC, "MmUnlockPages")
def vi_unlock(vf: Verifier, nt: Kernel, Mdl: Any) -> None:
    """0x78: level; 0x7C: not locked; 0x7D: nonpaged pool; 0xB4: a partial MDL."""
    vi_level(vf, 0x78, DISPATCH_LEVEL, int(Mdl), 0)
    flags = Mdl._v.MdlFlags
    if not flags & LOCKED and not flags & NONPAGED:
        why = "MmUnlockPages was given an MDL whose pages are not locked."
        vf.violation(0x7C, int(Mdl), flags, why=why)
    if flags & NONPAGED:
        why = "MmUnlockPages was given an MDL of nonpaged pool, which is never locked."
        vf.violation(0x7D, int(Mdl), flags, why=why)
    if flags & PARTIAL:
        why = "MmUnlockPages was given a partial MDL: its pages belong to the MDL it is part of."
        vf.violation(0xB4, int(Mdl), flags, PARTIAL, why=why)


@before(AUTOMATIC, "MmBuildMdlForNonPagedPool")
def vi_build_for_nonpaged_pool(vf: Verifier, nt: Kernel, Mdl: Any) -> None:
    """0x7F: the buffer is pageable."""
    v = Mdl._v
    special = vf.special.block_at(v.StartVa) if vf.special is not None else None
    paged = v.StartVa in nt.mm.paged or (special is not None and special.paged)
    if paged or layout.is_user_address(v.StartVa):
        why = f"MmBuildMdlForNonPagedPool was given an MDL of pageable memory at {v.StartVa:#x}."
        vf.violation(0x7F, vf.irql, int(Mdl), v.MdlFlags, why=why)


@before(AUTOMATIC, "MmMapLockedPages")
def vi_map_locked_pages(vf: Verifier, nt: Kernel, Mdl: Any, Mode: int) -> None:
    """0x74, 0x75: level; 0x81: a mapping that may not fail; 0xB2, 0xB3: flags."""
    user = Mode == USER_MODE
    vi_level(vf, 0x75 if user else 0x74, APC_LEVEL if user else DISPATCH_LEVEL, int(Mdl), Mode)
    flags = Mdl._v.MdlFlags
    if not flags & CAN_FAIL:
        why = "MmMapLockedPages stops the system if it fails: use MmMapLockedPagesSpecifyCache."
        vf.violation(0x81, int(Mdl), flags, why=why)
    vi_mappable(vf, Mdl)


@before(AUTOMATIC, "MmMapLockedPagesSpecifyCache")
def vi_map_specify_cache(
    vf: Verifier, nt: Kernel, Mdl: Any, Mode: int, Cache: int, Address: int, Stop: int,
    Priority: int,
) -> None:  # fmt: skip
    """0x76, 0x77: level; 0x82: BugCheckOnFailure; 0xB2, 0xB3: flags."""
    user = Mode == USER_MODE
    vi_level(vf, 0x77 if user else 0x76, APC_LEVEL if user else DISPATCH_LEVEL, int(Mdl), Mode)
    flags = Mdl._v.MdlFlags
    if Stop and not user and not flags & CAN_FAIL:
        why = "MmMapLockedPagesSpecifyCache was called with BugCheckOnFailure TRUE."
        vf.violation(0x82, int(Mdl), flags, why=why)
    if not user:
        vi_mappable(vf, Mdl)


def vi_mappable(vf: Verifier, mdl: Any) -> None:
    flags = mdl._v.MdlFlags
    bad = flags & (MAPPED | NONPAGED)
    if bad:
        why = f"{vf.routine} was given an MDL that has a system address already."
        vf.violation(0xB2, int(mdl), flags, bad, why=why)
    if not flags & (LOCKED | PARTIAL | c.MDL_IO_SPACE):
        why = f"{vf.routine} was given an MDL whose pages are not locked."
        vf.violation(0xB3, int(mdl), flags, LOCKED | PARTIAL, why=why)
    frames = mdl_frames(vf.nt, mdl)
    free = next((pa for pa in frames if vf.nt.mm.frames.is_free(pa)), None)
    if free is not None:
        why = f"{vf.routine} was given an MDL of pages that were freed."
        vf.violation(0x85, int(mdl), len(frames), free >> 12, why=why)


@before(AUTOMATIC, "MmUnmapLockedPages")
def vi_unmap_locked_pages(vf: Verifier, nt: Kernel, BaseAddress: int, Mdl: Any) -> None:
    """0x79, 0x7A: level; 0xB6: the MDL is not mapped."""
    user = layout.is_user_address(int(BaseAddress))
    highest = APC_LEVEL if user else DISPATCH_LEVEL
    vi_level(vf, 0x7A if user else 0x79, highest, int(BaseAddress), int(Mdl))
    flags = Mdl._v.MdlFlags
    if not user and not flags & MAPPED:
        why = "MmUnmapLockedPages was given an MDL that is not mapped to a system address."
        vf.violation(0xB6, int(Mdl), flags, MAPPED, why=why)
    if user and nt.thread.process.user.find(int(BaseAddress)) is None:
        why = f"MmUnmapLockedPages was given {int(BaseAddress):#x}, at which nothing is mapped."
        vf.violation(0xB9, int(BaseAddress), int(Mdl), why=why)


@before(AUTOMATIC, "IoFreeMdl")
def vi_free_mdl(vf: Verifier, nt: Kernel, Mdl: Any) -> None:
    """0xB8: the pages are still mapped; a partial MDL's mapping goes with it."""
    flags = Mdl._v.MdlFlags
    if flags & MAPPED and not flags & (NONPAGED | PARTIAL):
        why = "IoFreeMdl was given an MDL that is mapped to a system address: unmap it first."
        vf.violation(0xB8, int(Mdl), flags, why=why)


@before(AUTOMATIC, "MmMapIoSpace")
def vi_map_io_space(vf: Verifier, nt: Kernel, Address: Any, Bytes: int, Cache: int) -> None:
    """0x73: level; 0x83: memory that nobody has, and that somebody else may be given."""
    start = nt.quad_part(Address)
    vi_level(vf, 0x73, DISPATCH_LEVEL, start, Bytes)
    pa = nt.mm.frames.first_free(start & ~0xFFF, start + Bytes)
    if pa is not None:
        why = f"MmMapIoSpace was given memory at {pa:#x}, which is free: nothing keeps it."
        vf.violation(0x83, start, Bytes, pa >> 12, why=why)


@before(AUTOMATIC, "MmUnmapIoSpace")
def vi_unmap_io_space(vf: Verifier, nt: Kernel, BaseAddress: int, Bytes: int) -> None:
    vi_level(vf, 0x7B, APC_LEVEL, int(BaseAddress), Bytes)


@before(AUTOMATIC, "MmAllocatePagesForMdl MmAllocatePagesForMdlEx MmFreePagesFromMdl")
def vi_pages_for_mdl(vf: Verifier, nt: Kernel, *arguments: Any) -> None:
    vi_level(vf, 0x7E, DISPATCH_LEVEL, DISPATCH_LEVEL, 0)
