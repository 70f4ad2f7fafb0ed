"""MmGetPhysicalMemoryRanges: ntddk.h."""

from ntsim.wdm import *


def test_the_ranges_cover_ram_and_end_with_zeroes(value_of) -> None:
    def work():
        ranges = MmGetPhysicalMemoryRanges()
        found = []
        while ranges[len(found)].NumberOfBytes.QuadPart:
            each = ranges[len(found)]
            found.append((each.BaseAddress.QuadPart, each.NumberOfBytes.QuadPart))
        own = MmGetPhysicalAddress(ranges).QuadPart
        inside = [base for base, size in found if base <= own < base + size]
        ExFreePool(ranges)
        return found, len(inside)

    found, inside = value_of(work, memory_mb=32)
    assert found == [(0x1000, 0x9E000), (0x100000, (32 << 20) - 0x100000)]
    assert inside == 1
