"""Probing user buffers. A failed probe raises; the caller's `except StructuredException` is C's
__except. Source: WDK ProbeForRead, ProbeForWrite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import BOOLEAN, PVOID, SIZE_T, ULONG
from ntsim.hw.mmu import READ, WRITE
from ntsim.nt.exports import export
from ntsim.nt.mm import layout

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


def mm_probe(nt: Kernel, address: int, length: int, alignment: int) -> None:
    """The checks that touch no memory: alignment and range."""
    if not length:
        return
    if address & (alignment - 1):
        nt.raise_status(ntstatus.STATUS_DATATYPE_MISALIGNMENT, f"{address:#x}")
    if address + length > layout.MM_USER_PROBE_ADDRESS:
        reason = f"{address:#x} is no user address"
        nt.raise_status(ntstatus.STATUS_ACCESS_VIOLATION, reason, (0, address))


@export(irql="<= APC")
def ProbeForRead(nt: Kernel, Address: PVOID, Length: SIZE_T, Alignment: ULONG) -> None:
    """Raise unless the range is aligned and below MmUserProbeAddress; touches nothing."""
    mm_probe(nt, int(Address), Length, Alignment)


@export(irql="<= APC")
def ProbeForWrite(nt: Kernel, Address: PVOID, Length: SIZE_T, Alignment: ULONG) -> None:
    """As ProbeForRead, and every page must be writable."""
    mm_probe(nt, int(Address), Length, Alignment)
    if Length:
        for va in [int(Address), *range((int(Address) | 0xFFF) + 1, int(Address) + Length, 0x1000)]:
            nt.mmu.host(va, WRITE, user=True)


@export(irql="any")
def MmIsAddressValid(nt: Kernel, VirtualAddress: PVOID) -> BOOLEAN:
    """TRUE if a read of the byte would not fault now. Source: WDK MmIsAddressValid."""
    return nt.mmu.probe(int(VirtualAddress), READ) is not None


@export(irql="<= DISPATCH")
def MmIsNonPagedSystemAddressValid(nt: Kernel, VirtualAddress: PVOID) -> BOOLEAN:
    """Source: WDK MmIsNonPagedSystemAddressValid."""
    return (int(VirtualAddress) >> 12) in nt.mmu.raw_pages
