"""Pool charged to the process's quota, zeroed. Source: WDK ExAllocatePoolQuotaZero; wdm.h."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import POOL_TYPE, PVOID, SIZE_T, ULONG
from ntsim.nt.ex.allocate import ex_allocate
from ntsim.nt.ex.pool import NX, PAGED_POOL, tag_text
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

QUOTA_FAIL_INSTEAD_OF_RAISE = 8


@export(irql="<= DISPATCH, or <= APC for paged pool")
def ExAllocatePoolQuotaZero(
    nt: Kernel, PoolType: POOL_TYPE, NumberOfBytes: SIZE_T, Tag: ULONG
) -> PVOID:
    """ExAllocatePoolWithQuotaTag with zeroed memory; raises without POOL_QUOTA_FAIL_... (8)."""
    paged = bool(PoolType & PAGED_POOL)
    executable = not paged and not PoolType & NX
    raises = not PoolType & QUOTA_FAIL_INSTEAD_OF_RAISE
    return ex_allocate(nt, NumberOfBytes, tag_text(Tag), paged, executable, True, raises)
