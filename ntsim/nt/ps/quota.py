"""Pool quota of processes: what drivers charge for what they keep on a process's behalf.

EPROCESS.ProcessQuotaUsage counts bytes of nonpaged and of paged pool, ProcessQuotaPeak the most
there was. No limit is set, as by default since Windows Vista, so that charging succeeds. The System
process is not charged. Source: ntifs.h PsChargePoolQuota; ReactOS ntoskrnl/ps/quota.c; bug check
0x21 reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.bugcodes import QUOTA_UNDERFLOW
from ntsim.abi.ps import EPROCESS
from ntsim.abi.scalars import NTSTATUS, POOL_TYPE, ULONG_PTR
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.abi.ps import PEPROCESS
    from ntsim.nt.kernel import Kernel

NONPAGED, PAGED = 0, 1
_USAGE, _PEAK = (EPROCESS.offset_of(name) for name in ("ProcessQuotaUsage", "ProcessQuotaPeak"))


def psp_charge(nt: Kernel, process: int, kind: int, amount: int) -> None:
    """Charge `amount` bytes of pool NONPAGED or PAGED to the process whose EPROCESS this is."""
    if process == nt.ps.system.va:
        return
    mmu, at = nt.mmu, process + _USAGE + 8 * kind
    used = mmu.read_word(at) + amount
    mmu.write_word(at, used)
    peak = process + _PEAK + 8 * kind
    if used > mmu.read_word(peak):
        mmu.write_word(peak, used)


def psp_return(nt: Kernel, process: int, kind: int, amount: int) -> None:
    """Give back what was charged; more than that is 0x21 with what is too much."""
    if process == nt.ps.system.va:
        return
    at = process + _USAGE + 8 * kind
    used = nt.mmu.read_word(at)
    if used < amount:
        nt.bugcheck(QUOTA_UNDERFLOW, process, kind, amount, amount - used)
    nt.mmu.write_word(at, used - amount)


@export(irql="<= DISPATCH")
def PsChargePoolQuota(
    nt: Kernel, Process: PEPROCESS, PoolType: POOL_TYPE, Amount: ULONG_PTR
) -> None:
    """Charge bytes of a pool; would raise STATUS_QUOTA_EXCEEDED if there were a limit."""
    psp_charge(nt, int(Process), PoolType & PAGED, Amount)


@export(irql="<= DISPATCH")
def PsReturnPoolQuota(
    nt: Kernel, Process: PEPROCESS, PoolType: POOL_TYPE, Amount: ULONG_PTR
) -> None:
    """Undo PsChargePoolQuota."""
    psp_return(nt, int(Process), PoolType & PAGED, Amount)


@export(irql="<= DISPATCH")
def PsChargeProcessPoolQuota(
    nt: Kernel, Process: PEPROCESS, PoolType: POOL_TYPE, Amount: ULONG_PTR
) -> NTSTATUS:
    """Charge bytes of a pool. Source: ReactOS ntoskrnl/ps/quota.c."""
    psp_charge(nt, int(Process), PoolType & PAGED, Amount)
    return ntstatus.STATUS_SUCCESS


@export(irql="<= DISPATCH")
def PsChargeProcessNonPagedPoolQuota(
    nt: Kernel, Process: PEPROCESS, Amount: ULONG_PTR
) -> NTSTATUS:
    """Charge bytes of nonpaged pool."""
    psp_charge(nt, int(Process), NONPAGED, Amount)
    return ntstatus.STATUS_SUCCESS


@export(irql="<= DISPATCH")
def PsReturnProcessNonPagedPoolQuota(nt: Kernel, Process: PEPROCESS, Amount: ULONG_PTR) -> None:
    """Undo PsChargeProcessNonPagedPoolQuota."""
    psp_return(nt, int(Process), NONPAGED, Amount)


@export(irql="<= DISPATCH")
def PsChargeProcessPagedPoolQuota(nt: Kernel, Process: PEPROCESS, Amount: ULONG_PTR) -> NTSTATUS:
    """Charge bytes of paged pool."""
    psp_charge(nt, int(Process), PAGED, Amount)
    return ntstatus.STATUS_SUCCESS


@export(irql="<= DISPATCH")
def PsReturnProcessPagedPoolQuota(nt: Kernel, Process: PEPROCESS, Amount: ULONG_PTR) -> None:
    """Undo PsChargeProcessPagedPoolQuota."""
    psp_return(nt, int(Process), PAGED, Amount)
