"""AVL generic tables against a sorted list, and the tree's bytes against what makes it balanced.

Source: WDK RtlInitializeGenericTableAvl and its family; ntddk.h RTL_AVL_TABLE; Knuth, The Art of
Computer Programming 3, 6.2.3 (depth and balance).
"""

import pytest

from ntsim.hw.prng import Random
from ntsim.wdm import *


class Numbers:
    """A table of ULONGs ordered by value."""

    def __init__(self, equal_below: int = 1) -> None:
        self.table, self.key = RTL_AVL_TABLE(), ULONG()
        self.live: set[int] = set()
        self.short = False

        def compare(Table, First, Second) -> int:
            one, two = cast(First, PULONG)[0], cast(Second, PULONG)[0]
            if one // equal_below == two // equal_below:
                return GenericEqual
            return GenericLessThan if one < two else GenericGreaterThan

        def allocate(Table, ByteSize) -> int:
            if self.short:
                return 0
            made = ExAllocatePoolWithTag(NonPagedPoolNx, ByteSize, 1)
            self.live.add(int(made))
            return made

        def free(Table, Buffer) -> None:
            self.live.remove(int(Buffer))
            ExFreePool(Buffer)

        RtlInitializeGenericTableAvl(self.table, compare, allocate, free, NULL)

    def of(self, value: int):
        self.key[0] = value
        return self.key

    def add(self, value: int) -> tuple[int, int]:
        new = BOOLEAN()
        found = RtlInsertElementGenericTableAvl(self.table, self.of(value), 4, new)
        return (cast(found, PULONG)[0] if found else -1), new[0]

    def delete(self, value: int) -> int:
        return RtlDeleteElementGenericTableAvl(self.table, self.of(value))

    def in_order(self) -> list[int]:
        found, at = [], RtlEnumerateGenericTableAvl(self.table, TRUE)
        while at:
            found.append(cast(at, PULONG)[0])
            at = RtlEnumerateGenericTableAvl(self.table, FALSE)
        return found

    def depth(self, link) -> int:
        """Depth below a node, whose balances and parents are checked on the way."""
        if not link:
            return 0
        node = cast(int(link), RTL_BALANCED_LINKS)
        for child in (node.LeftChild, node.RightChild):
            assert not child or int(child.Parent) == int(node)
        left, right = self.depth(node.LeftChild), self.depth(node.RightChild)
        assert node.Balance == right - left
        assert -1 <= node.Balance <= 1
        return 1 + max(left, right)

    def check(self, model: list[int]) -> None:
        root = self.table.BalancedRoot
        assert int(root.Parent) == int(root)
        assert not root.LeftChild
        assert self.depth(root.RightChild) == self.table.DepthOfTree
        assert RtlNumberGenericTableElementsAvl(self.table) == len(model) == len(self.live)
        assert self.in_order() == model


def test_an_element_is_inserted_once_and_copied(value_of) -> None:
    def body() -> list:
        numbers = Numbers()
        found = [RtlIsGenericTableEmptyAvl(numbers.table), numbers.add(7), numbers.add(7)]
        found += [numbers.add(3), numbers.in_order()]
        found += [RtlLookupElementGenericTableAvl(numbers.table, numbers.of(9))]
        found += [RtlLookupElementGenericTableAvl(numbers.table, numbers.of(7)) != 0]
        numbers.short = True
        found += [numbers.add(5), RtlNumberGenericTableElementsAvl(numbers.table)]
        return [*found, RtlIsGenericTableEmptyAvl(numbers.table)]

    expected = [True, (7, 1), (7, 0), (3, 1), [3, 7], 0, True, (-1, 0), 2, False]
    assert value_of(body) == expected


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_insertions_and_deletions_in_any_order_keep_the_tree_balanced(value_of, seed) -> None:
    def body() -> int:
        numbers, model, random = Numbers(), set(), Random(seed)
        for step in range(300):
            value = random.below(64)
            if random.below(5) < 3:
                assert numbers.add(value) == (value, int(value not in model))
                model.add(value)
            else:
                assert numbers.delete(value) == (value in model)
                model.discard(value)
            if step % 10 == 0:
                numbers.check(sorted(model))
        for value in sorted(model):
            numbers.delete(value)
        numbers.check([])
        return len(model)

    assert value_of(body) > 5


@pytest.mark.parametrize("step", [1, -1])
def test_sorted_insertion_gives_a_shallow_tree(value_of, step: int) -> None:
    def body() -> int:
        numbers = Numbers()
        for value in range(127)[::step]:
            numbers.add(value)
        numbers.check(list(range(127)))
        return numbers.table.DepthOfTree

    assert value_of(body) == 7


def test_elements_by_number_are_in_order_wherever_the_last_one_was(value_of) -> None:
    def body() -> list[int]:
        numbers = Numbers()
        for value in (50, 10, 40, 20, 30):
            numbers.add(value)
        found = [RtlGetElementGenericTableAvl(numbers.table, i) for i in (0, 3, 4, 1, 2, 5)]
        return [cast(at, PULONG)[0] if at else 0 for at in found]

    assert value_of(body) == [10, 40, 50, 20, 30, 0]


def test_deleting_during_an_enumeration_does_not_lose_the_place(value_of) -> None:
    def body() -> list[int]:
        numbers, found = Numbers(), []
        for value in range(10):
            numbers.add(value)
        at = RtlEnumerateGenericTableAvl(numbers.table, TRUE)
        while at:
            found.append(cast(at, PULONG)[0])
            if found[-1] % 2:
                numbers.delete(found[-1])
            at = RtlEnumerateGenericTableAvl(numbers.table, FALSE)
        return found

    assert value_of(body) == list(range(10))


def test_an_enumeration_with_a_key_of_the_callers_own(value_of) -> None:
    def body() -> list[int]:
        numbers, key, found = Numbers(), PVOID(), []
        for value in (3, 1, 2):
            numbers.add(value)
        while at := RtlEnumerateGenericTableWithoutSplayingAvl(numbers.table, key):
            found.append(cast(at, PULONG)[0])
        return found

    assert value_of(body) == [1, 2, 3]


def test_a_full_lookup_says_where_to_insert(value_of) -> None:
    def body() -> tuple:
        numbers, new = Numbers(), BOOLEAN()
        empty = RtlLookupElementGenericTableFullAvl(numbers.table, numbers.of(5))
        numbers.add(5)
        at, node, result = RtlLookupElementGenericTableFullAvl(numbers.table, numbers.of(3))
        RtlInsertElementGenericTableFullAvl(numbers.table, numbers.of(3), 4, new, node, result)
        return empty, at, result, new[0], numbers.in_order()

    expected = (0, 0, TableEmptyTree), 0, TableInsertAsLeft, 1, [3, 5]
    assert value_of(body) == expected


def test_the_first_match_and_a_listing_like_a_directory(value_of) -> None:
    def body() -> tuple:
        numbers = Numbers()
        for value in range(30):
            numbers.add(value)
        tens = Numbers(10)
        tens.table.BalancedRoot.RightChild = numbers.table.BalancedRoot.RightChild
        first, _ = RtlLookupFirstMatchingElementGenericTableAvl(tens.table, tens.of(15))
        key, deleted, found = PVOID(), ULONG(), []

        def match(Table, Data, MatchData) -> int:
            value = cast(Data, PULONG)[0]
            return (
                STATUS_NO_MORE_FILES
                if value > 20
                else (STATUS_NO_MATCH if value % 5 else STATUS_SUCCESS)
            )

        while at := RtlEnumerateGenericTableLikeADirectory(
            numbers.table, match, NULL, bool(found), key, deleted, numbers.of(7)
        ):
            found.append(cast(at, PULONG)[0])
        return cast(first, PULONG)[0], found

    assert value_of(body) == (10, [10, 15, 20])
