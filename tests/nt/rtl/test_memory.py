"""Copying, filling, comparing memory: results, and faults exactly where they belong."""

import pytest

from ntsim.wdm import *

TAG = 0x74736554


def pool(size: int, kind: int = NonPagedPool) -> int:
    return ExAllocatePoolWithTag(kind, size, TAG)


def test_copy_fill_and_zero(value_of) -> None:
    def work() -> tuple[bytes, bytes]:
        one, two = pool(64), pool(64)
        RtlFillMemory(one, 64, 0xAB)
        RtlZeroMemory(two, 64)
        RtlCopyMemory(two + 8, one, 16)
        return read_bytes(one, 2), read_bytes(two, 32)

    assert value_of(work) == (b"\xab\xab", bytes(8) + b"\xab" * 16 + bytes(8))


@pytest.mark.parametrize("kind", [NonPagedPool, PagedPool])
@pytest.mark.parametrize("move", [RtlMoveMemory, RtlCopyMemory, memmove])
def test_overlapping_ranges_are_copied_as_if_through_a_buffer(value_of, kind, move) -> None:
    def work() -> list[bytes]:
        block = pool(0x3000, kind)
        text = bytes(i & 0xFF for i in range(0x2000))
        found = []
        for source, to in ((0x100, 0x180), (0x180, 0x100)):
            write_bytes(block + source, text)
            move(block + to, block + source, len(text))
            found.append(read_bytes(block + to, len(text)) == text)
        return found

    assert value_of(work) == [True, True]


def test_compare_memory_counts_equal_bytes(value_of) -> None:
    def work() -> list[int]:
        one, two = pool(0x2000, PagedPool), pool(0x2000)
        for block in (one, two):
            RtlZeroMemory(block, 0x2000)
        whole = RtlCompareMemory(one, two, 0x2000)
        write_bytes(two + 0x1801, b"\x05")
        return [
            whole,
            RtlCompareMemory(one, two, 0x2000),
            RtlEqualMemory(one, two, 0x1801),
            RtlEqualMemory(one, two, 0x1802),
            memcmp(one, two, 0x2000) < 0,
            memcmp(two, one, 0x2000) > 0,
        ]

    assert value_of(work) == [0x2000, 0x1801, True, False, True, True]


def test_compare_memory_ulong_does_not_look_at_alignment(value_of) -> None:
    """ReactOS rostests/kmtests/rtl/RtlMemory.c, against WDK RtlCompareMemoryUlong."""

    def work() -> list[int]:
        block = pool(32)
        RtlFillMemoryUlong(block, 32, 0x11223344)
        write_bytes(block + 20, b"\0")
        aligned = RtlCompareMemoryUlong(block, 30, 0x11223344)
        found = [aligned, RtlCompareMemoryUlong(block + 1, 8, 0x11223344)]
        return [*found, RtlCompareMemoryUlong(block + 1, 8, 0x44112233)]

    assert value_of(work) == [20, 0, 8]


def test_the_c_routines_return_their_destination(value_of) -> None:
    def work() -> list[bool]:
        block = pool(32)
        return [
            memset(block, 0x41, 32) == block,
            memcpy(block, block + 16, 4) == block,
            memchr(block, 0x41, 32) == block,
            memchr(block, 0x42, 32) == 0,
        ]

    assert value_of(work) == [True] * 4


def test_a_copy_from_a_null_pointer_in_a_system_thread_is_an_unhandled_exception(
    bugcheck_of,
) -> None:
    def work() -> None:
        RtlCopyMemory(pool(16), NULL, 16)

    stop = bugcheck_of(work)
    assert (stop.code, stop.parameters[0]) == (0x7E, STATUS_ACCESS_VIOLATION)


def test_a_copy_past_the_end_of_a_block_faults_at_the_first_byte_that_is_not_there(
    bugcheck_of,
) -> None:
    ends = []

    def work() -> None:
        source = pool(0x1000)
        block = pool(0x2000, PagedPool)
        ends.append(block + 0x2000)
        RtlCopyMemory(block + 0x1FF8, source, 16)

    stop = bugcheck_of(work)
    assert (stop.code, stop.parameters[:2]) == (0x50, (ends[0], 2))


def test_paged_memory_at_dispatch_level_bugchecks(bugcheck_of) -> None:
    def work() -> None:
        paged = pool(0x2000, PagedPool)
        KeRaiseIrqlToDpcLevel()
        RtlZeroMemory(paged, 0x2000)

    stop = bugcheck_of(work)
    assert stop.code in (0xA, 0xD1)
    assert stop.parameters[1:3] == (2, 1)
