"""ExAllocatePool* and ExFreePool*. Source: WDK "Memory Allocation for Drivers"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import BOOLEAN, POOL_FLAGS, POOL_TYPE, PVOID, SIZE_T, ULONG
from ntsim.nt.ex.pool import NX, PAGED_POOL, tag_text
from ntsim.nt.exports import Out, export

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

RAISE_ON_FAILURE, QUOTA_FAIL_INSTEAD_OF_RAISE = 0x10, 8
FLAG_UNINITIALIZED, FLAG_NON_PAGED = 0x2, 0x40
FLAG_NON_PAGED_EXECUTE, FLAG_PAGED, FLAG_RAISE = 0x80, 0x100, 0x20


def ex_allocate(
    nt: Kernel, size: int, tag: str, paged: bool, executable: bool, zero: bool, raises: bool
) -> int:
    """The common part: allocate, record, raise or return 0 when memory is short."""
    address = nt.ex.pool.allocate(size, tag, paged=paged, executable=executable, zero=zero)
    if not address:
        if raises:
            nt.raise_status(ntstatus.STATUS_INSUFFICIENT_RESOURCES, "pool")
        return 0
    nt.ex.pool.record_allocation(address, size, tag)
    return address


def exp_allocate_with_quota(nt: Kernel, kind: int, size: int, tag: int, zero: bool) -> int:
    """Charge the current process, which a small block references until it is freed.

    The System process is not charged. Source: kmtests ExPools.c; Windows Internals 7, chapter 5.
    """
    paged = bool(kind & PAGED_POOL)
    raises = not kind & QUOTA_FAIL_INSTEAD_OF_RAISE
    executable = not paged and not kind & NX
    address = ex_allocate(nt, size, tag_text(tag), paged, executable, zero, raises)
    process = nt.thread.process
    if address and process is not nt.ps.system:
        nt.ex.pool.charge(address, process.va)
    return address


@export(irql="<= DISPATCH, or <= APC for paged pool")
def ExAllocatePoolWithTag(
    nt: Kernel, PoolType: POOL_TYPE, NumberOfBytes: SIZE_T, Tag: ULONG
) -> PVOID:
    """Pool memory, not zeroed; NULL if there is none.

    NonPagedPool (0) is executable. Source: WDK.
    """
    paged = bool(PoolType & PAGED_POOL)
    return ex_allocate(
        nt, NumberOfBytes, tag_text(Tag), paged, not paged and not PoolType & NX, False,
        bool(PoolType & RAISE_ON_FAILURE),
    )  # fmt: skip


@export(irql="<= DISPATCH, or <= APC for paged pool")
def ExAllocatePoolWithTagPriority(
    nt: Kernel, PoolType: POOL_TYPE, NumberOfBytes: SIZE_T, Tag: ULONG, Priority: ULONG
) -> PVOID:
    """ExAllocatePoolWithTag: the priority says who fails first when memory is short, and every
    request is served here while there is any. Source: WDK ExAllocatePoolWithTagPriority.
    """
    return ExAllocatePoolWithTag(nt, PoolType, NumberOfBytes, Tag)


@export(irql="<= DISPATCH, or <= APC for paged pool")
def ExAllocatePool(nt: Kernel, PoolType: POOL_TYPE, NumberOfBytes: SIZE_T) -> PVOID:
    """As ExAllocatePoolWithTag with tag 'None'. Obsolete. Source: WDK ExAllocatePool."""
    return ExAllocatePoolWithTag(nt, PoolType, NumberOfBytes, 0x656E6F4E)


@export(irql="<= DISPATCH, or <= APC for paged pool", inline=True)
def ExAllocatePoolZero(nt: Kernel, PoolType: POOL_TYPE, NumberOfBytes: SIZE_T, Tag: ULONG) -> PVOID:
    """As ExAllocatePoolWithTag, zeroed. Source: WDK ExAllocatePoolZero."""
    paged = bool(PoolType & PAGED_POOL)
    return ex_allocate(
        nt, NumberOfBytes, tag_text(Tag), paged, not paged and not PoolType & NX, True, False
    )


@export(irql="<= DISPATCH, or <= APC for paged pool")
def ExAllocatePool2(nt: Kernel, Flags: POOL_FLAGS, NumberOfBytes: SIZE_T, Tag: ULONG) -> PVOID:
    """Pool memory by POOL_FLAGS, zeroed unless POOL_FLAG_UNINITIALIZED.

    Source: WDK ExAllocatePool2.
    """
    paged = bool(Flags & FLAG_PAGED)
    if not Flags & (FLAG_PAGED | FLAG_NON_PAGED | FLAG_NON_PAGED_EXECUTE) or not NumberOfBytes:
        return 0
    return ex_allocate(
        nt, NumberOfBytes, tag_text(Tag), paged, bool(Flags & FLAG_NON_PAGED_EXECUTE),
        not Flags & FLAG_UNINITIALIZED, bool(Flags & FLAG_RAISE),
    )  # fmt: skip


@export(irql="<= DISPATCH, or <= APC for paged pool")
def ExAllocatePoolWithQuotaTag(
    nt: Kernel, PoolType: POOL_TYPE, NumberOfBytes: SIZE_T, Tag: ULONG
) -> PVOID:
    """As ExAllocatePoolWithTag; raises unless POOL_QUOTA_FAIL_INSTEAD_OF_RAISE (8).

    The block keeps the process it is charged to referenced. Source: WDK; kmtests ExPools.c.
    """
    return exp_allocate_with_quota(nt, PoolType, NumberOfBytes, Tag, zero=False)


@export(irql="<= DISPATCH")
def ExQueryPoolBlockSize(nt: Kernel, PoolBlock: PVOID, QuotaCharged: Out[BOOLEAN]) -> SIZE_T:
    """How large a block is, rounded up, and whether it is charged to a quota.

    Source: WDK ExQueryPoolBlockSize; kmtests ExPools.c.
    """
    QuotaCharged[0] = int(PoolBlock) in nt.ex.pool.billed
    return nt.ex.pool.room(int(PoolBlock))


@export(irql="<= DISPATCH, or <= APC for paged pool")
def ExFreePoolWithTag(nt: Kernel, P: PVOID, Tag: ULONG) -> None:
    """Free a block; a tag other than its own stops with 0xC2 parameter 1 = 0xA. Source: WDK."""
    _, tag, _ = nt.ex.pool.free(int(P), tag_text(Tag) if Tag else None)
    nt.ex.pool.record_free(int(P), tag)


@export(irql="<= DISPATCH, or <= APC for paged pool")
def ExFreePool(nt: Kernel, P: PVOID) -> None:
    """Free a block. Source: WDK ExFreePool."""
    ExFreePoolWithTag(nt, P, 0)
