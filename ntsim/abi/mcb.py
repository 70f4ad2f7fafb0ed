"""Map control blocks of file systems. Layout: ntifs.h."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import PVOID, ULONG, USHORT
from ntsim.abi.structure import Structure, at


class LARGE_MCB(Structure, size=0x20):
    GuardedMutex: PVOID = at(0x00)
    MaximumPairCount: ULONG = at(0x08)
    PairCount: ULONG = at(0x0C)
    PoolType: USHORT = at(0x10)
    Flags: USHORT = at(0x12)
    Mapping: PVOID = at(0x18)


if TYPE_CHECKING:
    PLARGE_MCB = LARGE_MCB
