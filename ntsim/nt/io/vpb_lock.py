"""The lock of all volume parameter blocks, and what file objects' generic access means.

Source: ntifs.h IoAcquireVpbSpinLock, IoGetFileObjectGenericMapping; wdm.h
KSPIN_LOCK_QUEUE_NUMBER.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import KIRQL, PVOID
from ntsim.nt.exports import Out, export
from ntsim.nt.ke.numbered_lock import KeAcquireQueuedSpinLock, KeReleaseQueuedSpinLock
from ntsim.nt.mm.variables import mi_variable

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

VPB_LOCK = 9
"""LockQueueIoVpbLock."""


@export(irql="<= DISPATCH")
def IoAcquireVpbSpinLock(nt: Kernel, Irql: Out[KIRQL]) -> None:
    """Take the lock and raise to DISPATCH_LEVEL; *Irql is the level before."""
    Irql[0] = KeAcquireQueuedSpinLock(nt, VPB_LOCK)


@export(irql="== DISPATCH")
def IoReleaseVpbSpinLock(nt: Kernel, Irql: KIRQL) -> None:
    """Give the lock back and lower to Irql."""
    KeReleaseQueuedSpinLock(nt, VPB_LOCK, Irql)


@export(irql="== PASSIVE")
def IoGetFileObjectGenericMapping(nt: Kernel) -> PVOID:
    """Address of the GENERIC_MAPPING of file objects."""
    address = mi_variable(nt, "IopFileMapping", 16)
    nt.mmu.write(address, nt.io.generic_mapping)
    return address
