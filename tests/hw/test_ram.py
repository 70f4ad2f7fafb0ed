"""Physical memory: views agree, bounds hold, scattered frames line up."""

import ctypes
import gc
import os

import pytest

from ntsim.hw.ram import PAGE_SIZE, AliasWindow, OutsideRam, Ram, _runs

needs_memfd = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="the host has no memfd")


def test_every_view_sees_the_same_bytes() -> None:
    ram = Ram(16 * PAGE_SIZE)
    ram.u64[0x2008 >> 3] = 0x1122334455667788
    assert ram.read(0x2008, 8) == bytes.fromhex("8877665544332211")
    assert ram.u32[0x200C >> 2] == 0x11223344
    assert ram.bytes[0x2008] == 0x88
    assert ctypes.c_uint64.from_address(ram.address + 0x2008).value == 0x1122334455667788
    ram.write(0x2008, b"\x01")
    assert ram.u64[0x2008 >> 3] == 0x1122334455667701


def test_new_ram_is_zero() -> None:
    assert not any(Ram(PAGE_SIZE).read(0, PAGE_SIZE))


@pytest.mark.parametrize(
    ("pa", "size"), [(-1, 1), (0x4000, 1), (0x3FFF, 2), (0, 0x4001), (1 << 40, 8)]
)
def test_ranges_outside_ram_are_refused_and_write_nothing(pa: int, size: int) -> None:
    ram = Ram(4 * PAGE_SIZE)
    with pytest.raises(OutsideRam):
        ram.read(pa, size)
    with pytest.raises(OutsideRam):
        ram.write(pa, b"\xff" * size)
    assert not any(ram.bytes)


@pytest.mark.parametrize("size", [0, -4096, 4097])
def test_a_size_that_is_not_whole_pages_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="multiple"):
        Ram(size)


def test_two_machines_share_nothing() -> None:
    first, second = Ram(PAGE_SIZE), Ram(PAGE_SIZE)
    first.write(0, b"first")
    assert second.read(0, 5) == bytes(5)


def test_frames_are_grouped_into_contiguous_runs() -> None:
    assert list(_runs([])) == []
    assert list(_runs([0x3000, 0x4000, 0x8000, 0x7000])) == [
        (0x0000, 0x3000, 0x2000),
        (0x2000, 0x8000, 0x1000),
        (0x3000, 0x7000, 0x1000),
    ]


@needs_memfd
def test_a_window_lines_scattered_frames_up_both_ways() -> None:
    ram = Ram(16 * PAGE_SIZE)
    window = AliasWindow(ram, 8 * PAGE_SIZE)
    window.map(0x1000, [0x7000, 0x2000])
    crossing = ctypes.c_uint64.from_buffer(window.buffer, 0x1FFC)
    crossing.value = 0x1122334455667788
    assert ram.read(0x7FFC, 4) == bytes.fromhex("88776655")
    assert ram.read(0x2000, 4) == bytes.fromhex("44332211")
    ram.write(0x2000, b"\xff\xff\xff\xff")
    assert crossing.value == 0xFFFFFFFF55667788
    assert ctypes.c_uint64.from_address(window.host(0x1FFC)).value == 0xFFFFFFFF55667788


@needs_memfd
def test_unmapped_pages_of_a_window_are_plain_memory() -> None:
    ram = Ram(4 * PAGE_SIZE)
    window = AliasWindow(ram, 2 * PAGE_SIZE)
    ram.write(0x1000, b"here")
    window.map(0, [0x1000])
    assert bytes(window.bytes[:4]) == b"here"
    window.unmap(0, PAGE_SIZE)
    assert bytes(window.bytes[:4]) == bytes(4)
    window.bytes[0] = 1
    assert ram.read(0x1000, 4) == b"here"


@needs_memfd
def test_a_window_refuses_frames_outside_ram_and_offsets_outside_itself() -> None:
    ram = Ram(4 * PAGE_SIZE)
    window = AliasWindow(ram, 2 * PAGE_SIZE)
    with pytest.raises(OutsideRam):
        window.map(0, [4 * PAGE_SIZE])
    with pytest.raises(AssertionError):
        window.map(PAGE_SIZE, [0, PAGE_SIZE])


@needs_memfd
def test_a_view_outlives_ram_and_window() -> None:
    ram = Ram(4 * PAGE_SIZE)
    window = AliasWindow(ram, PAGE_SIZE)
    window.map(0, [0x2000])
    ram.write(0x2000, b"\x2a")
    views = [
        ctypes.c_uint64.from_buffer(ram.map, 0x2000),
        ctypes.c_uint64.from_buffer(window.buffer, 0),
    ]
    del ram, window
    gc.collect()
    assert [view.value for view in views] == [42, 42]


@needs_memfd
def test_forgotten_ram_returns_its_file() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        AliasWindow(Ram(PAGE_SIZE), PAGE_SIZE)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before + 2
