"""Automatic checks of pool allocations and frees.

Source: WDK Bug Check 0xC4, parameter 1 = 0x0 to 0x2, 0x10 to 0x12, 0x105.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi.irql import level_name
from ntsim.nt.ex.pool import NX, PAGED_POOL
from ntsim.nt.ke.irql import APC_LEVEL, DISPATCH_LEVEL
from ntsim.nt.vf.hooks import AUTOMATIC, before

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier

BY_TYPE = (
    "ExAllocatePoolWithTag ExAllocatePool ExAllocatePoolZero ExAllocatePoolWithQuotaTag "
    "ExAllocatePoolWithQuota ExAllocatePoolWithTagPriority"
)
BY_FLAGS = "ExAllocatePool2"
FREE = "ExFreePoolWithTag ExFreePool"
FLAG_PAGED = 0x100


@before(AUTOMATIC, "ExAllocatePoolWithQuota ExAllocatePoolWithQuotaTag")
def vi_quota(vf: Verifier, nt: Kernel, *rest: Any) -> None:
    """0x10B: the process that pays is whichever the DPC interrupted."""
    if nt.prcb[nt.il.current.number]._v.DpcRoutineActive:
        why = f"{vf.routine} was called in a DPC routine: an arbitrary process would be charged."
        vf.violation(0x10B, why=why)


@before(AUTOMATIC, BY_TYPE)
def vi_allocate_by_type(vf: Verifier, nt: Kernel, PoolType: int, Size: int, *rest: int) -> None:
    vi_check_allocation(vf, bool(PoolType & PAGED_POOL), PoolType, Size)


@before(AUTOMATIC, BY_FLAGS)
def vi_allocate_by_flags(vf: Verifier, nt: Kernel, Flags: int, Size: int, *rest: int) -> None:
    paged = bool(Flags & FLAG_PAGED)
    vi_check_allocation(vf, paged, PAGED_POOL if paged else NX, Size)


def vi_check_allocation(vf: Verifier, paged: bool, pool_type: int, size: int) -> None:
    """0x0: no bytes; 0x1, 0x2: paged above APC_LEVEL, nonpaged above DISPATCH_LEVEL."""
    level = vf.irql
    at = f"{vf.routine} was called at {level_name(level)}"
    if not size:
        vf.violation(0x0, level, pool_type, size, why=f"{vf.routine} was asked for 0 bytes.")
    if paged and level > APC_LEVEL:
        vf.violation(0x1, level, pool_type, size, why=f"{at} for paged pool: APC_LEVEL at most.")
    if level > DISPATCH_LEVEL:
        vf.violation(0x2, level, pool_type, size, why=f"{at}: DISPATCH_LEVEL at most.")


@before(AUTOMATIC, FREE)
def vi_free(vf: Verifier, nt: Kernel, P: int, *rest: Any) -> None:
    """0x10: no pool at all; 0x105: an IRP; 0x11, 0x12: at a wrong level."""
    if P in vf.io.allocated:
        why = f"An IRP at {P:#x} was freed with {vf.routine}: IoFreeIrp does that."
        vf.violation(0x105, P, why=why)
    paged = vi_is_paged(nt, vf, P)
    if paged is None:
        why = f"{vf.routine} was given {P:#x}, which no allocation returned."
        vf.violation(0x10, P, why=why)
    level = vf.irql
    highest = APC_LEVEL if paged else DISPATCH_LEVEL
    if level > highest:
        kind, pool_type = (0x11, PAGED_POOL) if paged else (0x12, 0)
        what = "Paged" if paged else "Nonpaged"
        why = f"{what} pool was freed at {level_name(level)}: {level_name(highest)} at most."
        vf.violation(kind, level, pool_type, P, why=why)


def vi_is_paged(nt: Kernel, vf: Verifier, address: int) -> bool | None:
    """Whether a block is paged; None if there is no pool at all."""
    if vf.special is not None and (block := vf.special.block_at(address)) is not None:
        return block.paged
    pool = nt.ex.pool
    if address & 0xFFF == 0:
        big = pool.big.get(address)
        return None if big is None else big.paged
    kind = pool.kinds.get(address & ~0xFFF)
    return None if kind is None else kind[0]
