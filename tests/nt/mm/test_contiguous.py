"""Contiguous memory, address translation, mappings of physical ranges."""

import pytest

from ntsim.host.current import current_kernel
from ntsim.wdm import *

PAGE = 0x1000
ANYWHERE = MAXULONG64


@pytest.mark.parametrize("pages", [1, 2, 16, 100])
@pytest.mark.parametrize("seed", [0, 9])
def test_contiguous_memory_is_contiguous_aligned_and_not_zeroed(
    value_of, pages: int, seed: int
) -> None:
    def body() -> tuple:
        va = MmAllocateContiguousMemory(pages * PAGE, ANYWHERE)
        addresses = [int(MmGetPhysicalAddress(va + i * PAGE)) for i in range(pages)]
        consecutive = addresses == [addresses[0] + i * PAGE for i in range(pages)]
        return va % PAGE, addresses[0] % PAGE, consecutive, read_bytes(va, 8) == bytes(8)

    assert value_of(body, seed=seed) == (0, 0, True, False)


def test_the_highest_acceptable_address_is_kept(value_of) -> None:
    def body() -> list:
        limit = 50 << 20
        va = MmAllocateContiguousMemory(4 * PAGE, limit)
        return [MmGetPhysicalAddress(va) + 4 * PAGE - 1 <= limit]

    assert value_of(body) == [True]


def test_nothing_is_found_below_what_is_free(value_of) -> None:
    assert value_of(lambda: MmAllocateContiguousMemory(PAGE, 0x1000)) == 0


def test_more_than_there_is_gives_null(value_of) -> None:
    assert value_of(lambda: MmAllocateContiguousMemory(1 << 32, ANYWHERE)) == 0


@pytest.mark.parametrize("boundary", [0x10000, 0x100000])
def test_a_boundary_is_not_crossed(value_of, boundary: int) -> None:
    def body() -> list:
        found = []
        for size in (0x3000, 0x9000, 0xD000, 0x8000):
            va = MmAllocateContiguousMemorySpecifyCache(size, 0, ANYWHERE, boundary, MmCached)
            first = int(MmGetPhysicalAddress(va))
            found.append(first // boundary == (first + size - 1) // boundary)
        return found

    assert value_of(body) == [True] * 4


def test_the_lowest_acceptable_address_is_kept(value_of) -> None:
    def body() -> bool:
        va = MmAllocateContiguousMemorySpecifyCache(PAGE, 60 << 20, ANYWHERE, 0, MmCached)
        return MmGetPhysicalAddress(va) >= 60 << 20

    assert value_of(body) is True


def test_freed_memory_is_found_again(value_of) -> None:
    def body() -> bool:
        first = [MmAllocateContiguousMemory(64 * PAGE, ANYWHERE) for _ in range(8)]
        places = sorted(int(MmGetPhysicalAddress(va)) for va in first)
        for va in first:
            MmFreeContiguousMemory(va)
        again = MmAllocateContiguousMemory(512 * PAGE, ANYWHERE)
        return MmGetPhysicalAddress(again) == places[0]

    assert value_of(body) is True


@pytest.mark.parametrize("what", ["physical address", "pool", "middle", "twice"])
def test_freeing_anything_else_bugchecks_0xc2_with_0x46(bugcheck_of, what: str) -> None:
    """The frequent mistake of hypervisor drivers: the physical address is passed."""
    seen = []

    def body() -> None:
        va = MmAllocateContiguousMemory(2 * PAGE, ANYWHERE)
        address = {
            "physical address": lambda: int(MmGetPhysicalAddress(va)),
            "pool": lambda: ExAllocatePoolWithTag(NonPagedPoolNx, PAGE, 1),
            "middle": lambda: va + PAGE,
            "twice": lambda: MmFreeContiguousMemory(va) or va,
        }[what]()
        seen.append(address)
        MmFreeContiguousMemory(address)

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters) == (0xC2, (0x46, seen[0], 0, 0))


# Addresses


def test_virtual_and_physical_addresses_lead_to_the_same_byte(value_of) -> None:
    def body() -> list:
        found = []
        for va in (
            MmAllocateContiguousMemory(PAGE, ANYWHERE) + 5,
            ExAllocatePoolWithTag(NonPagedPoolNx, 64, 1),
            ExAllocatePoolWithTag(NonPagedPoolNx, 3 * PAGE, 1) + PAGE + 7,
            int(KEVENT()),
        ):
            write_bytes(va, b"mark")
            window = MmMapIoSpace(MmGetPhysicalAddress(va), 4, MmNonCached)
            found.append(
                (MmGetVirtualForPhysical(MmGetPhysicalAddress(va)) == va, read_bytes(window, 4))
            )
            write_bytes(window, b"back")
            found.append(read_bytes(va, 4))
            MmUnmapIoSpace(window, 4)
        return found

    assert value_of(body) == [(True, b"mark"), b"back"] * 4


def test_the_page_tables_appear_at_the_self_map(value_of) -> None:
    """PML4 entry 0x1ED: the entry of an address holds the frame MmGetPhysicalAddress tells."""

    def body() -> list:
        va = ExAllocatePoolWithTag(NonPagedPoolNx, 64, 1)
        entry = cast(0xFFFF_F680_0000_0000 + (va >> 9 & 0x7F_FFFF_FFF8), PULONGLONG)[0]
        frame = entry & 0x000F_FFFF_FFFF_F000
        return [frame == MmGetPhysicalAddress(va) & ~0xFFF, entry & 3, entry >> 63]

    assert value_of(body) == [True, 3, 1]


UNUSED = 0xFFFF_F980_1234_5000


def map_unused(pa: int) -> None:
    """A page-table entry of one's own, as drivers write that acquire memory."""
    nt = current_kernel("the test")
    nt.mmu.write_entry(nt.mm.system_root, UNUSED, pa | 3)


def test_reserved_bits_of_an_entry_are_0x50_not_a_write_to_read_only_memory(bugcheck_of) -> None:
    def body() -> None:
        map_unused(1 << 41)
        read_bytes(UNUSED, 4)

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[:2]) == (0x50, (UNUSED, 0))


def test_unmapping_io_space_that_is_not_mapped_so_bugchecks_0xda(bugcheck_of) -> None:
    def body() -> None:
        window = MmMapIoSpace(0x1000, 2 * PAGE, MmNonCached)
        MmUnmapIoSpace(window, PAGE)

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[0], stop.parameters[2]) == (0xDA, 0x400, 1)


@pytest.mark.parametrize(
    ("address", "valid"),
    [
        (0, False),
        (0x7FFF_0000_0000, False),
        (0xFFFF_F980_1234_5678, False),
        (0x8000_0000_0000_0000, False),
        (0xFFFF_F780_0000_0000, True),
    ],
)
def test_whether_an_address_is_valid_is_told_without_a_fault(
    value_of, address: int, valid: bool
) -> None:
    assert value_of(lambda: MmIsAddressValid(address)) is valid


BEYOND = 0xFED0_0000


def test_beyond_ram_a_mapping_reads_all_ones_and_keeps_its_address(value_of) -> None:
    def body() -> list:
        va = MmMapIoSpace(BEYOND + 0x123, 2 * PAGE, MmNonCached)
        found = [va & 0xFFF, read_bytes(va, 4), read_bytes(va + PAGE, 8)]
        found += [hex(MmGetPhysicalAddress(va)), hex(MmGetPhysicalAddress(va + PAGE))]
        write_bytes(va, b"\0\0")
        MmUnmapIoSpace(va, 2 * PAGE)
        again = MmMapIoSpace(BEYOND, PAGE, MmNonCached)
        found.append(read_bytes(again, 4))
        MmUnmapIoSpace(again, PAGE)
        return found

    ones = b"\xff" * 8
    assert value_of(body) == [
        0x123, ones[:4], ones, hex(BEYOND + 0x123), hex(BEYOND + 0x1123), ones[:4],
    ]  # fmt: skip


def test_a_mapping_may_begin_in_ram_and_end_beyond(value_of) -> None:
    def body() -> list:
        ranges = MmGetPhysicalMemoryRanges()
        last = cast(int(ranges), PHYSICAL_MEMORY_RANGE)[1]
        end = last.BaseAddress.QuadPart + last.NumberOfBytes.QuadPart
        va = MmMapIoSpace(end - PAGE, 2 * PAGE, MmNonCached)
        return [read_bytes(va + PAGE, 2), hex(MmGetPhysicalAddress(va) - end + PAGE)]

    assert value_of(body) == [b"\xff\xff", "0x0"]


def test_beyond_the_processors_addresses_nothing_is_mapped(value_of) -> None:
    assert value_of(lambda: MmMapIoSpace((1 << 39) - PAGE, 2 * PAGE, MmNonCached)) == 0
    assert value_of(lambda: MmMapIoSpace(0x1000, 1 << 50, MmNonCached)) == 0
    assert value_of(lambda: MmMapIoSpace(0x1000, 0, MmNonCached)) == 0


def test_device_memory_is_mapped_a_second_time_through_an_mdl(value_of) -> None:
    def body() -> list:
        va = MmMapIoSpace(BEYOND, PAGE, MmNonCached)
        mdl = IoAllocateMdl(va, PAGE, FALSE, FALSE, NULL)
        MmBuildMdlForNonPagedPool(mdl)
        again = MmMapLockedPages(mdl, KernelMode)
        return [again != va, MmSizeOfMdl(va, PAGE), read_bytes(again, 1)]

    assert value_of(body) == [True, 56, b"\xff"]


def write_through(protect: int) -> bool:
    va = MmMapIoSpaceEx(0x10_0000, PAGE, protect)
    write_bytes(va, read_bytes(va, 1))
    MmUnmapIoSpace(va, PAGE)
    return va != 0


@pytest.mark.parametrize("extra", [0, PAGE_NOCACHE, PAGE_WRITECOMBINE])
def test_io_space_that_may_be_written(value_of, extra: int) -> None:
    assert value_of(lambda: write_through(PAGE_READWRITE | extra)) is True


@pytest.mark.parametrize("protect", [PAGE_READONLY, PAGE_EXECUTE_READ])
def test_io_space_that_may_only_be_read(bugcheck_of, protect: int) -> None:
    assert bugcheck_of(lambda: write_through(protect)).code == 0xBE


def test_a_wrong_protection_maps_nothing(value_of) -> None:
    wrong = (0, 3, PAGE_NOACCESS, PAGE_READWRITE | PAGE_NOCACHE | PAGE_WRITECOMBINE, 0x1004)
    assert value_of(lambda: [MmMapIoSpaceEx(0x10_0000, PAGE, p) for p in wrong]) == [0] * 5


def test_a_range_larger_than_system_space_or_its_tables_is_null(value_of) -> None:
    sizes = (1 << 38, 1 << 31)
    assert value_of(lambda: [MmMapIoSpace(0, size, MmNonCached) for size in sizes]) == [0, 0]
    small = {"memory_mb": 32}
    assert value_of(lambda: MmMapIoSpace(0, 0x3FFF_0000, MmNonCached) != 0, **small) is True


@pytest.mark.parametrize("size", [1 << 32, 1 << 38])
def test_the_verifier_looks_through_a_huge_range_at_once(bugcheck_of, size: int) -> None:
    stop = bugcheck_of(lambda: MmMapIoSpace(0, size, MmNonCached), verifier="standard")
    assert (stop.code, stop.parameters[:3]) == (0xC4, (0x83, 0, size))
