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


def test_bus_addresses_are_the_processors_and_ports_stay_ports(value_of) -> None:
    def work():
        translated, space = LARGE_INTEGER(), ExAllocatePoolWithTag(NonPagedPool, 4, 1)
        found = []
        for kind, bus, ports in ((Isa, 0, 1), (PCIBus, 0, 0), (PCIBus, 3, 0), (MicroChannel, 0, 0)):
            write_bytes(space, bytes([ports, 0, 0, 0]))
            translated.QuadPart = 0
            done = HalTranslateBusAddress(kind, bus, 0xFED00000, space, translated)
            found.append((done, hex(translated.QuadPart), read_bytes(space, 1)[0]))
        return found

    assert value_of(work) == [
        (True, "0xfed00000", 1), (True, "0xfed00000", 0), (False, "0x0", 0), (False, "0x0", 0),
    ]  # fmt: skip


def test_a_line_has_a_vector_whose_upper_half_is_its_level(value_of) -> None:
    def work():
        vector, level, affinity = HalGetInterruptVector(Isa, 0, 7, 7)
        return vector >> 4 == level, level > DISPATCH_LEVEL, affinity, HalGetInterruptVector(
            Isa, 0, 24, 24
        )[0]

    assert value_of(work, processors=2) == (True, True, 3, 0)
