"""Interlocked operations: widths, results, and that nothing comes between."""

import pytest

from ntsim.wdm import *


@pytest.mark.parametrize(
    ("operation", "arguments", "start", "result", "stored"),
    [
        (InterlockedIncrement, (), 5, 6, 6),
        (InterlockedDecrement, (), 0, -1, 0xFFFFFFFF),
        (InterlockedIncrement, (), 0x7FFFFFFF, -0x80000000, 0x80000000),
        (InterlockedExchange, (9,), 5, 5, 9),
        (InterlockedExchangeAdd, (3,), 5, 5, 8),
        (InterlockedAdd, (3,), 5, 8, 8),
        (InterlockedCompareExchange, (9, 5), 5, 5, 9),
        (InterlockedCompareExchange, (9, 4), 5, 5, 5),
        (InterlockedAnd, (0xC,), 0xA, 0xA, 0x8),
        (InterlockedOr, (0xC,), 0xA, 0xA, 0xE),
        (InterlockedXor, (0xC,), 0xA, 0xA, 0x6),
    ],
)
def test_32_bit_operations_leave_the_bytes_beside_alone(
    value_of, operation, arguments, start, result, stored
) -> None:
    def work() -> tuple[int, int]:
        variable = ULONGLONG()
        variable[0] = 0x11223344_00000000 | start
        return operation(variable, *arguments), variable[0]

    assert value_of(work) == (result, 0x11223344_00000000 | stored)


def test_wider_and_narrower_ones(value_of) -> None:
    def work() -> list[int]:
        variable = ULONGLONG()
        variable[0] = 0xFFFF_FFFF
        return [
            InterlockedIncrement64(variable),
            InterlockedExchangePointer(variable, 0xFFFF800000000000),
            InterlockedCompareExchangePointer(variable, 7, 0xFFFF800000000000),
            InterlockedIncrement16(variable),
            InterlockedAdd64(variable, -9),
            InterlockedExchange64(variable, 5),
            InterlockedBitTestAndSet(variable, 33),
            InterlockedBitTestAndReset(variable, 0),
            variable[0],
        ]

    expected = [0x1_0000_0000, 0x1_0000_0000, 0xFFFF800000000000, 8, -1, -1, False, True]
    assert value_of(work) == [*expected, 0x2_0000_0004]


def test_sixteen_bytes(value_of) -> None:
    def work() -> list[object]:
        block = cast(ExAllocatePoolWithTag(NonPagedPool, 64, 0x74736554), ULONGLONG)
        for i in range(4):
            block[i] = 0
        first = InterlockedCompareExchange128(block, 2, 1, block + 16)
        second = InterlockedCompareExchange128(block, 4, 3, block + 16)
        return [first, second, block[0], block[1], block[2], block[3]]

    assert value_of(work) == [1, 0, 1, 2, 1, 2]


def test_paged_memory_at_dispatch_level_faults_as_a_write(bugcheck_of) -> None:
    def work() -> None:
        paged = ExAllocatePoolWithTag(PagedPool, 0x2000, 0x74736554)
        KeRaiseIrqlToDpcLevel()
        InterlockedIncrement(paged)

    stop = bugcheck_of(work)
    assert stop.code in (0xA, 0xD1)
    assert stop.parameters[1:3] == (2, 1)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_no_update_is_lost_between_processors(value_of, seed) -> None:
    def work() -> int:
        count = ULONG()

        def add(context) -> None:
            for _ in range(200):
                InterlockedIncrement(count)

        threads = []
        for _ in range(4):
            _, handle = PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, add, NULL)
            threads.append(ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, NULL)[1])
        for thread in threads:
            KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, NULL)
        return count[0]

    assert value_of(work, processors=4, seed=seed) == 800
