"""Pool: headers as bytes, what is raw and what is paged, and what a bad free ends in."""

from itertools import pairwise

import pytest

from ntsim.abi.ex import POOL_HEADER
from ntsim.wdm import *

TAG = 0x74736554
"""'Test', as a driver writes it backwards: 'tseT'."""

PAGE = 0x1000
HEADER = 0x10


def header_of(block: int):
    return cast(block - HEADER, POOL_HEADER)


@pytest.mark.parametrize("pool", [NonPagedPool, NonPagedPoolNx, PagedPool])
@pytest.mark.parametrize("size", [1, 15, 16, 17, 100, 2000, 4064])
def test_a_small_block_has_a_header_before_it_and_stays_in_its_page(
    value_of, pool: int, size: int
) -> None:
    def body() -> list:
        found = []
        for _ in range(40):
            block = ExAllocatePoolWithTag(pool, size, TAG)
            header = header_of(block)
            assert block % 16 == 0
            assert block >> 12 == (block + size - 1) >> 12
            found.append((header.PoolTag, header.Ulong1 >> 16 & 0xFF, header.Ulong1 >> 24))
        return sorted(set(found))

    blocks = -(-(size + HEADER) // 16)
    assert value_of(body) == [(TAG, blocks, 3 if pool == PagedPool else 2)]


@pytest.mark.parametrize("size", [4081, 4096, 4097, 20_000])
def test_a_block_of_a_page_or_more_is_page_aligned(value_of, size: int) -> None:
    assert value_of(lambda: ExAllocatePoolWithTag(NonPagedPoolNx, size, TAG)) % PAGE == 0


def test_the_tag_is_kept_as_the_driver_gave_it(value_of) -> None:
    tags = [0x41, 0x4100, 0xC1C2C3C4, 0x20204142]

    def body() -> list:
        return [header_of(ExAllocatePoolWithTag(NonPagedPoolNx, 8, tag)).PoolTag for tag in tags]

    assert value_of(body) == tags


def test_the_pages_of_a_large_block_are_scattered_by_the_seed(value_of) -> None:
    def body() -> list[int]:
        block = ExAllocatePoolWithTag(NonPagedPoolNx, 8 * PAGE, TAG)
        return [MmGetPhysicalAddress(block + i * PAGE) for i in range(8)]

    first, second = value_of(body, seed=1), value_of(body, seed=2)
    assert first != second
    assert any(b - a != PAGE for a, b in pairwise(first))


def test_a_large_block_is_one_stretch_of_memory_all_the_same(value_of) -> None:
    def body() -> bool:
        block = ExAllocatePoolWithTag(NonPagedPoolNx, 3 * PAGE, TAG)
        data = bytes(i * 7 & 0xFF for i in range(3 * PAGE))
        write_bytes(block, data)
        words = cast(block, PULONGLONG)
        return read_bytes(block, 3 * PAGE) == data and words[511] == int.from_bytes(
            data[4088:4096], "little"
        )

    assert value_of(body) is True


def test_fresh_memory_is_not_zeroed_unless_asked_for(value_of) -> None:
    def body() -> list[bool]:
        blocks = [
            ExAllocatePoolWithTag(NonPagedPoolNx, 64, TAG),
            ExAllocatePoolZero(NonPagedPoolNx, 64, TAG),
            ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, TAG),
            ExAllocatePool2(POOL_FLAG_NON_PAGED | POOL_FLAG_UNINITIALIZED, 64, TAG),
        ]
        return [read_bytes(block, 64) == bytes(64) for block in blocks]

    assert value_of(body) == [False, True, True, False]


def test_freed_memory_stays_readable_and_goes_stale(value_of) -> None:
    """Retail Windows: a use after free of nonpaged pool is noticed by nobody."""

    def body() -> bytes:
        block = ExAllocatePoolWithTag(NonPagedPoolNx, 64, TAG)
        write_bytes(block, b"secret")
        ExFreePool(block)
        return read_bytes(block, 6)

    assert value_of(body) == b"secret"


def test_a_freed_block_is_used_again_first(value_of) -> None:
    def body() -> bool:
        blocks = [ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG) for _ in range(5)]
        ExFreePool(blocks[2])
        return ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG) == blocks[2]

    assert value_of(body) is True


def test_when_memory_is_short_allocation_returns_null_or_raises_as_asked(value_of) -> None:
    def body() -> list[int]:
        huge = 1 << 40
        plain = ExAllocatePoolWithTag(NonPagedPoolNx, huge, TAG)
        paged = ExAllocatePoolWithTag(PagedPool, huge, TAG)
        try:
            ExAllocatePoolWithTag(NonPagedPoolNx | 0x10, huge, TAG)
        except StructuredException as e:
            return [plain, paged, e.ExceptionCode]
        return []

    assert value_of(body) == [0, 0, STATUS_INSUFFICIENT_RESOURCES]


def test_memory_runs_out_and_comes_back(value_of) -> None:
    def body() -> list[int]:
        blocks = []
        while block := ExAllocatePoolWithTag(NonPagedPoolNx, 1 << 20, TAG):
            blocks.append(block)
        for block in blocks:
            ExFreePool(block)
        again = 0
        while ExAllocatePoolWithTag(NonPagedPoolNx, 1 << 20, TAG):
            again += 1
        return [len(blocks) > 10, again == len(blocks)]

    assert value_of(body, memory_mb=32) == [True, True]


def test_quota_allocation_raises_unless_told_to_return_null(value_of) -> None:
    def body() -> list[int]:
        null = ExAllocatePoolWithQuotaTag(
            PagedPool | POOL_QUOTA_FAIL_INSTEAD_OF_RAISE, 1 << 40, TAG
        )
        try:
            ExAllocatePoolWithQuotaTag(PagedPool, 1 << 40, TAG)
        except StructuredException as e:
            return [null, e.ExceptionCode]
        return []

    assert value_of(body) == [0, STATUS_INSUFFICIENT_RESOURCES]


def test_the_usage_of_a_tag_returns_to_zero(run_driver) -> None:
    def body() -> None:
        for size in (1, 100, 4064, 4096, 9999):
            ExFreePool(ExAllocatePoolWithTag(NonPagedPoolNx, size, TAG))
            ExFreePool(ExAllocatePoolWithTag(PagedPool, size, TAG))

    usage = run_driver(body).machine.nt.ex.pool.usage
    assert usage["Test", False] == [5, 5, 0]
    assert usage["Test", True] == [5, 5, 0]


# Bad frees


def test_freeing_a_block_twice_bugchecks_0xc2_with_7(bugcheck_of) -> None:
    """Parameters: the tag in the header, the header's first four bytes, the block."""
    seen = []

    def body() -> None:
        block = ExAllocatePoolWithTag(NonPagedPoolNx, 64, TAG)
        seen.append(block)
        ExFreePool(block)
        ExFreePool(block)

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters) == (0xC2, (7, TAG, 5 << 16, seen[0]))


def test_freeing_a_large_block_twice_bugchecks_0xc2_with_0x46(bugcheck_of) -> None:
    seen = []

    def body() -> None:
        seen.append(ExAllocatePoolWithTag(NonPagedPoolNx, 2 * PAGE, TAG))
        ExFreePool(seen[0])
        ExFreePool(seen[0])

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters) == (0xC2, (0x46, seen[0], 0, 0))


@pytest.mark.parametrize("size", [64, 3 * PAGE])
def test_freeing_with_another_tag_bugchecks_0xc2_with_0xa(bugcheck_of, size: int) -> None:
    seen = []

    def body() -> None:
        seen.append(ExAllocatePoolWithTag(NonPagedPoolNx, size, TAG))
        ExFreePoolWithTag(seen[0], 0x42424242)

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters) == (0xC2, (0xA, seen[0], TAG, 0x42424242))


@pytest.mark.parametrize("address", [0, 0x1000, 0x7FF6_1234_5670, 0xFFFF_F980_1234_5670], ids=hex)
def test_freeing_what_is_no_pool_block_bugchecks_0xc2_with_0x46(bugcheck_of, address: int) -> None:
    stop = bugcheck_of(lambda: ExFreePool(address))
    assert (stop.code, stop.parameters) == (0xC2, (0x46, address, 0, 0))


def test_freeing_a_variable_on_the_stack_bugchecks_0xc2(bugcheck_of) -> None:
    assert bugcheck_of(lambda: ExFreePool(KEVENT())).code == 0xC2


def test_freeing_the_middle_of_a_block_is_a_bad_header(bugcheck_of) -> None:
    stop = bugcheck_of(lambda: ExFreePool(ExAllocatePoolWithTag(NonPagedPoolNx, 256, TAG) + 32))
    assert (stop.code, stop.parameters[0]) == (0x19, 0x20)


def test_an_overrun_bugchecks_0x19_with_0x20_when_the_block_is_freed(bugcheck_of) -> None:
    """Parameters: the entry, the next entry (what it overwrote)."""
    seen = []

    def body() -> None:
        seen.append(ExAllocatePoolWithTag(NonPagedPoolNx, 64, TAG))
        write_bytes(seen[0], b"z" * 80)
        ExFreePool(seen[0])

    stop = bugcheck_of(body)
    entry = seen[0] - HEADER
    assert (stop.code, stop.parameters[:3]) == (0x19, (0x20, entry, entry + 0x50))


def test_an_underrun_is_noticed_in_the_blocks_own_header(bugcheck_of) -> None:
    def body() -> None:
        block = ExAllocatePoolWithTag(NonPagedPoolNx, 64, TAG)
        write_bytes(block - HEADER, b"\xff" * 8)
        ExFreePool(block)

    assert bugcheck_of(body).code == 0x19


def test_an_overrun_into_the_next_page_faults_only_if_nothing_is_there(bugcheck_of) -> None:
    def body() -> None:
        block = ExAllocatePoolWithTag(NonPagedPoolNx, PAGE, TAG)
        write_bytes(block + PAGE - 4, b"12345678" * PAGE)

    assert bugcheck_of(body).code == 0x50


# Paged pool


def test_paged_pool_comes_into_being_page_by_page(run_driver) -> None:
    def body() -> list:
        block = ExAllocatePoolWithTag(PagedPool, 4 * PAGE, TAG)
        before = [MmIsAddressValid(block + i * PAGE) for i in range(4)]
        write_bytes(block + 2 * PAGE, b"x")
        return before + [MmIsAddressValid(block + i * PAGE) for i in range(4)]

    assert run_driver(body).value == [False] * 4 + [False, False, True, False]


@pytest.mark.parametrize("pool", [NonPagedPoolNx, PagedPool])
def test_freeing_a_large_block_gives_its_pages_back(ntsim_machine, pool: int) -> None:
    machine = ntsim_machine()
    available = []

    def DriverEntry(DriverObject, RegistryPath) -> int:
        for _ in range(3):
            block = ExAllocatePoolWithTag(pool, 64 * PAGE, TAG)
            write_bytes(block, bytes(64 * PAGE))
            ExFreePool(block)
            available.append(machine.nt.mm.frames.available)
        return 0

    machine.load_driver(DriverEntry, name="drv.sys")
    assert len(set(available)) == 1


def test_a_freed_large_paged_block_is_not_valid_any_more(bugcheck_of) -> None:
    def body() -> None:
        block = ExAllocatePoolWithTag(PagedPool, 2 * PAGE, TAG)
        write_bytes(block, b"x")
        ExFreePool(block)
        read_bytes(block, 1)

    assert bugcheck_of(body).code == 0x50
