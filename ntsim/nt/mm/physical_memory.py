"""What RAM there is. Source: WDK "Windows kernel opaque structures"; ntddk.h."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.mm import PHYSICAL_MEMORY_RANGE
from ntsim.abi.scalars import PVOID, ULONG
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.abi.mm import PPHYSICAL_MEMORY_RANGE
    from ntsim.nt.kernel import Kernel

BELOW_FIRMWARE = (0x1000, 0x9_E000)
"""(base, bytes) of conventional memory; video memory and firmware lie between it and 1 MB."""

FIRST_MEGABYTE = 0x10_0000


def mi_physical_ranges(nt: Kernel) -> list[tuple[int, int]]:
    """(base, bytes) of every range that software may use."""
    return [BELOW_FIRMWARE, (FIRST_MEGABYTE, nt.mm.ram.size - FIRST_MEGABYTE)]


@export(irql="== PASSIVE")
def MmGetPhysicalMemoryRanges(nt: Kernel) -> PPHYSICAL_MEMORY_RANGE:
    """An array in nonpaged pool that the caller frees; an entry of zeroes ends it. NULL: no memory.

    Source: ntddk.h; WinPmem, src/read.c, for who frees it.
    """
    found = [*mi_physical_ranges(nt), (0, 0)]
    block = nt.allocate_pool(len(found) * PHYSICAL_MEMORY_RANGE.size, "hPmM")
    if block:
        data = b"".join(number.to_bytes(8, "little") for entry in found for number in entry)
        nt.mmu.write(block, data)
    ranges: PPHYSICAL_MEMORY_RANGE = PHYSICAL_MEMORY_RANGE.at(nt.mmu, block)
    return ranges


@export(irql="== PASSIVE")
def MmGetPhysicalMemoryRangesEx(nt: Kernel, PartitionObject: PVOID) -> PPHYSICAL_MEMORY_RANGE:
    """Of a memory partition; there is the system's alone. Source: ntddk.h."""
    return MmGetPhysicalMemoryRanges(nt)


@export(irql="== PASSIVE")
def MmGetPhysicalMemoryRangesEx2(
    nt: Kernel, PartitionObject: PVOID, Flags: ULONG
) -> PPHYSICAL_MEMORY_RANGE:
    """As MmGetPhysicalMemoryRangesEx: there is no persistent memory to ask for. Source: ntddk.h."""
    return MmGetPhysicalMemoryRanges(nt)
