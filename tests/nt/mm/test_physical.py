"""Physical addresses as drivers get them."""

from typing import Any

from ntsim.wdm import *


def test_a_physical_address_is_a_number_and_has_the_parts_of_its_union(value_of: Any) -> None:
    def work() -> tuple[int, int, int, int]:
        va = MmAllocateContiguousMemory(PAGE_SIZE, MAXULONG64)
        pa = MmGetPhysicalAddress(va)
        back = MmGetVirtualForPhysical(pa) - va
        return pa - pa.QuadPart, pa.LowPart - pa.QuadPart, pa.HighPart, back

    assert value_of(work) == (0, 0, 0, 0)


def test_what_is_not_resident_has_physical_address_0(value_of: Any) -> None:
    assert value_of(lambda: MmGetPhysicalAddress(0x10000).QuadPart) == 0
