"""Ports and the performance counter."""

from ntsim.wdm import *

COM1 = 0x3F8


def test_ports(run_driver) -> None:
    def work() -> list[int]:
        for byte in b"ok":
            WRITE_PORT_UCHAR(COM1, byte)
        block = ExAllocatePoolWithTag(NonPagedPool, 16, 0x74736554)
        write_bytes(block, b"!?")
        WRITE_PORT_BUFFER_UCHAR(COM1, block, 2)
        READ_PORT_BUFFER_USHORT(0x80, block, 2)
        return [
            READ_PORT_UCHAR(COM1 + 5),
            READ_PORT_USHORT(0x80),
            READ_PORT_ULONG(0x80),
            int.from_bytes(read_bytes(block, 4), "little"),
        ]

    assert run_driver(work).value == [0x60, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF]


def test_the_performance_counter_counts_virtual_time_at_10_mhz(value_of) -> None:
    def work() -> list[int]:
        frequency = LARGE_INTEGER()
        start = KeQueryPerformanceCounter(frequency)
        KeStallExecutionProcessor(1000)
        elapsed = KeQueryPerformanceCounter(NULL).QuadPart - start.QuadPart
        return [frequency.QuadPart, elapsed // 1000]

    assert value_of(work) == [10_000_000, 10]
