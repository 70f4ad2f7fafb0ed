"""Pool charged to the process's quota, zeroed. Source: WDK ExAllocatePoolQuotaZero; wdm.h."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import POOL_TYPE, PVOID, SIZE_T, ULONG
from ntsim.nt.ex.allocate import exp_allocate_with_quota
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


@export(irql="<= DISPATCH, or <= APC for paged pool")
def ExAllocatePoolQuotaZero(
    nt: Kernel, PoolType: POOL_TYPE, NumberOfBytes: SIZE_T, Tag: ULONG
) -> PVOID:
    """ExAllocatePoolWithQuotaTag with zeroed memory; raises without POOL_QUOTA_FAIL_... (8)."""
    return exp_allocate_with_quota(nt, PoolType, NumberOfBytes, Tag, zero=True)
