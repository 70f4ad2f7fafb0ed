"""Configuration space: WDK HalGetBusDataByOffset, HalSetBusDataByOffset."""

from ntsim.wdm import *


def test_an_empty_slot_of_bus_0_has_no_vendor_and_other_buses_do_not_exist(value_of) -> None:
    def work():
        block = ExAllocatePoolWithTag(NonPagedPool, 64, 1)
        RtlZeroMemory(block, 64)
        found = HalGetBusDataByOffset(PCIConfiguration, 0, 8, block, 0, 64)
        missing = HalGetBusDataByOffset(PCIConfiguration, 7, 0, block, 0, 64)
        written = HalSetBusDataByOffset(PCIConfiguration, 0, 8, block, 4, 4)
        return found, read_bytes(block, 4), missing, written

    assert value_of(work) == (2, b"\xff\xff\0\0", 0, 0)
