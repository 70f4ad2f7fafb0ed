"""Generic tables against a model: a dict and the order of insertion.

Source: WDK RtlInitializeGenericTable; ReactOS kmtests RtlAvlTree.c for the callbacks.
"""

import pytest

from ntsim.hw.prng import Random
from ntsim.wdm import *


class Numbers:
    """A table of ULONGs ordered by value."""

    def __init__(self) -> None:
        self.table, self.key = RTL_GENERIC_TABLE(), ULONG()
        self.allocated: list[int] = []
        self.freed: list[int] = []
        self.short = False

        def compare(Table, First, Second) -> int:
            one, two = cast(First, PULONG)[0], cast(Second, PULONG)[0]
            return (
                GenericLessThan if one < two else GenericGreaterThan if one > two else GenericEqual
            )

        def allocate(Table, ByteSize) -> int:
            if self.short:
                return 0
            self.allocated.append(ExAllocatePoolWithTag(NonPagedPoolNx, ByteSize, 1))
            return self.allocated[-1]

        def free(Table, Buffer) -> None:
            self.freed.append(int(Buffer))
            ExFreePool(Buffer)

        RtlInitializeGenericTable(self.table, compare, allocate, free, NULL)

    def of(self, value: int):
        self.key[0] = value
        return self.key

    def add(self, value: int) -> tuple[int, int]:
        new = BOOLEAN()
        found = RtlInsertElementGenericTable(self.table, self.of(value), 4, new)
        return (cast(found, PULONG)[0] if found else -1), new[0]

    def delete(self, value: int) -> int:
        return RtlDeleteElementGenericTable(self.table, self.of(value))

    def in_order(self) -> list[int]:
        found, at = [], RtlEnumerateGenericTable(self.table, TRUE)
        while at:
            found.append(cast(at, PULONG)[0])
            at = RtlEnumerateGenericTable(self.table, FALSE)
        return found

    def without_splaying(self) -> list[int]:
        restart, found = PVOID(), []
        while at := RtlEnumerateGenericTableWithoutSplaying(self.table, restart):
            found.append(cast(at, PULONG)[0])
        return found

    def inserted(self) -> list[int]:
        count = RtlNumberGenericTableElements(self.table)
        found = [RtlGetElementGenericTable(self.table, i) for i in range(count)]
        assert RtlGetElementGenericTable(self.table, count) == 0
        return [cast(at, PULONG)[0] for at in found]


def test_an_element_is_inserted_once_and_copied(value_of) -> None:
    def body() -> list:
        numbers = Numbers()
        found = [RtlIsGenericTableEmpty(numbers.table), numbers.add(7), numbers.add(7)]
        found += [numbers.add(3), numbers.in_order(), numbers.inserted()]
        found += [RtlLookupElementGenericTable(numbers.table, numbers.of(9))]
        found += [RtlLookupElementGenericTable(numbers.table, numbers.of(7)) != 0]
        return [*found, RtlIsGenericTableEmpty(numbers.table)]

    assert value_of(body) == [True, (7, 1), (7, 0), (3, 1), [3, 7], [7, 3], 0, True, False]


def test_without_memory_nothing_is_inserted(value_of) -> None:
    def body() -> list:
        numbers = Numbers()
        numbers.short = True
        return [numbers.add(1), RtlNumberGenericTableElements(numbers.table)]

    assert value_of(body) == [(-1, 0), 0]


def test_what_is_deleted_is_freed(value_of) -> None:
    def body() -> list:
        numbers = Numbers()
        for value in (5, 1, 9):
            numbers.add(value)
        found = [numbers.delete(4), numbers.delete(1), numbers.delete(1), numbers.in_order()]
        for value in (9, 5):
            numbers.delete(value)
        return [*found, sorted(numbers.freed) == sorted(numbers.allocated), numbers.in_order()]

    assert value_of(body) == [False, True, False, [5, 9], True, []]


def test_a_lookup_tells_where_an_element_belongs(value_of) -> None:
    def body() -> list:
        numbers = Numbers()
        found, new = [], BOOLEAN()
        for value in (5, 3, 8, 5):
            element, place, result = RtlLookupElementGenericTableFull(
                numbers.table, numbers.of(value)
            )
            found.append((element != 0, result))
            RtlInsertElementGenericTableFull(numbers.table, numbers.key, 4, new, place, result)
        return [found, numbers.in_order(), numbers.inserted()]

    empty, left, right = (False, 0), (False, 2), (False, 3)
    assert value_of(body) == [[empty, left, right, (True, 1)], [3, 5, 8], [5, 3, 8]]


@pytest.mark.parametrize("seed", range(3))
def test_many_operations_agree_with_a_model(value_of, seed: int) -> None:
    def body() -> bool:
        numbers, model, chance = Numbers(), [], Random(seed)
        for _ in range(150):
            value = chance.below(40)
            if chance.below(3):
                assert numbers.add(value) == (value, int(value not in model))
                model += [value] * (value not in model)
            else:
                assert numbers.delete(value) == (value in model)
                model = [each for each in model if each != value]
        assert numbers.inserted() == model
        assert numbers.without_splaying() == sorted(model)
        return numbers.in_order() == sorted(model)

    assert value_of(body)
