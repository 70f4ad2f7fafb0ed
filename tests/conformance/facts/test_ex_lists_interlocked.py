"""Facts of interlocked operations and of singly, sequenced and doubly linked lists."""

from __future__ import annotations

from typing import Any

from ntsim.intrin import *
from ntsim.wdm import *

from .fact import KMTESTS, Facts, as_tests, large

INTERLOCKED = Facts(f"{KMTESTS}/ntos_ex/ExInterlocked.c")
SINGLE = Facts(f"{KMTESTS}/ntos_ex/ExSingleList.c")
SEQUENCED = Facts(f"{KMTESTS}/ntos_ex/ExSequencedList.c")
DOUBLE = Facts(f"{KMTESTS}/ntos_ex/ExDoubleList.c")
MAXLONG, MINLONG = (1 << 31) - 1, -(1 << 31)
LEVELS = [PASSIVE_LEVEL, HIGH_LEVEL]


def variable(kind: Any, value: int) -> Any:
    made = kind()
    made[0] = value
    return made


OPERATIONS: dict[str, tuple[Any, int, Any, list[int]]] = {
    # what is called on a variable, its first value, the value and the result after
    "compare and exchange another": (
        LONG, 5, lambda at: InterlockedCompareExchange(at, 8, 6), [5, 5]
    ),
    "compare and exchange": (LONG, 5, lambda at: InterlockedCompareExchange(at, 9, 5), [9, 5]),
    "compare and exchange another 64": (
        LONGLONG, 17, lambda at: InterlockedCompareExchange64(at, 20, 4), [17, 17]
    ),
    "compare and exchange 64": (
        LONGLONG, 17, lambda at: InterlockedCompareExchange64(at, 21, 17), [21, 17]
    ),
    "compare and exchange another pointer": (
        ULONGLONG, 117, lambda at: InterlockedCompareExchangePointer(at, 12, 711), [117, 117]
    ),
    "compare and exchange pointer": (
        ULONGLONG, 117, lambda at: InterlockedCompareExchangePointer(at, 228, 117), [228, 117]
    ),
    "exchange": (LONG, 5, lambda at: InterlockedExchange(at, 8), [8, 5]),
    "exchange pointer": (
        ULONGLONG, 700, lambda at: InterlockedExchangePointer(at, 93), [93, 700]
    ),
    "exchange and add": (LONG, 312, lambda at: InterlockedExchangeAdd(at, 7), [319, 312]),
    "increment": (LONG, 2341, InterlockedIncrement, [2342, 2342]),
    "increment the greatest": (LONG, MAXLONG, InterlockedIncrement, [MINLONG, MINLONG]),
    "decrement": (LONG, 1745, InterlockedDecrement, [1744, 1744]),
    "decrement the least": (LONG, MINLONG, InterlockedDecrement, [MAXLONG, MAXLONG]),
    "and": (LONG, 0x1234, lambda at: InterlockedAnd(at, 0x1111), [0x1010, 0x1234]),
    "or": (LONG, 0x1234, lambda at: InterlockedOr(at, 0x1111), [0x1335, 0x1234]),
    "xor": (LONG, 0x1234, lambda at: InterlockedXor(at, 0x1111), [0x0325, 0x1234]),
    "xor 64": (
        LONGLONG, 0x200001234, lambda at: InterlockedXor64(at, 0x100001111),
        [0x300000325, 0x200001234],
    ),
}  # fmt: skip


@INTERLOCKED.fact(
    lambda operation, level: OPERATIONS[operation][3], operation=list(OPERATIONS), level=LEVELS
)
def an_operation_changes_the_value_and_returns_its_result(operation: str, level: int) -> list[int]:
    kind, first, call, _ = OPERATIONS[operation]
    KeRaiseIrql(level)
    value = variable(kind, first)
    result = call(value)
    return [value[0], result]


@INTERLOCKED.fact([30, 23, 32, 283, 239], level=LEVELS)
def the_adding_routines_with_a_lock_return_the_value_before(level: int) -> list[int]:
    KeRaiseIrql(level)
    lock = KSPIN_LOCK()
    number, statistic, count = large(23), large(15), variable(ULONG, 239)
    first = ExInterlockedAddLargeInteger(number, large(7), lock)
    ExInterlockedAddLargeStatistic(statistic, 17)
    second = ExInterlockedAddUlong(count, 44, lock)
    return [number.QuadPart, first.QuadPart, statistic.QuadPart, count[0], second]


# Singly linked lists: pushes (+n) and pops (-), and what each finds

SEQUENCE = ["pop", 0, 1, "pop", "pop", "pop", 0, 1, "pop", 1, 2, "flush"]
"""Entries pushed by number."""

RETURNED = [None, None, 0, 1, 0, None, None, 0, 1, 0, 1, 2]
DEPTHS = [0, 1, 2, 1, 0, 0, 1, 2, 1, 2, 3, 0]


def number_of(entries: list[Any], found: Any) -> int | None:
    return next((n for n, entry in enumerate(entries) if int(entry) == int(found)), None)


def depth_of(head: Any) -> int:
    depth, at = 0, head.Next
    while at:
        depth, at = depth + 1, at.Next
    return depth


@SINGLE.fact([(RETURNED, DEPTHS)], routines=["interlocked", "plain"], level=LEVELS)
def a_singly_linked_list_is_last_in_first_out(routines: str, level: int) -> list[Any]:
    lock, head = KSPIN_LOCK(), SINGLE_LIST_ENTRY()
    head.Next = NULL
    entries = [SINGLE_LIST_ENTRY() for _ in range(3)]
    returned, depths = [], []
    KeRaiseIrql(level)
    for step in SEQUENCE:
        if step == "flush":
            found, head.Next = head.Next, NULL
        elif step == "pop" and routines == "plain":
            found = PopEntryList(head)
        elif step == "pop":
            found = ExInterlockedPopEntryList(head, lock)
        elif routines == "plain":
            found = head.Next
            PushEntryList(head, entries[step])
        else:
            found = ExInterlockedPushEntryList(head, entries[step], lock)
        returned.append(number_of(entries, found))
        depths.append(depth_of(head))
    return [(returned, depths)]


@SINGLE.fact([True, True])
def a_popped_entry_keeps_its_link() -> list[bool]:
    lock, head = KSPIN_LOCK(), SINGLE_LIST_ENTRY()
    head.Next = NULL
    first, second = SINGLE_LIST_ENTRY(), SINGLE_LIST_ENTRY()
    ExInterlockedPushEntryList(head, first, lock)
    ExInterlockedPushEntryList(head, second, lock)
    ExInterlockedPopEntryList(head, lock)
    return [int(second.Next) == int(first), int(head.Next) == int(first)]


@SEQUENCED.fact([(RETURNED, DEPTHS)], routines=["with lock", "without"], level=LEVELS)
def a_sequenced_list_is_last_in_first_out_and_counts_its_depth(
    routines: str, level: int
) -> list[Any]:
    lock = KSPIN_LOCK()
    block = ExAllocatePoolWithTag(NonPagedPool, 16 * 4, 1)
    head = cast(block, PSLIST_HEADER)
    entries = [cast(block + 16 * n, PSLIST_ENTRY) for n in range(1, 4)]
    returned, depths = [], []
    ExInitializeSListHead(head)
    KeRaiseIrql(level)
    for step in SEQUENCE:
        if step == "flush":
            found = ExInterlockedFlushSList(head)
        elif step == "pop" and routines == "without":
            found = ExpInterlockedPopEntrySList(head)
        elif step == "pop":
            found = ExInterlockedPopEntrySList(head, lock)
        elif routines == "without":
            found = ExpInterlockedPushEntrySList(head, entries[step])
        else:
            found = ExInterlockedPushEntrySList(head, entries[step], lock)
        returned.append(number_of(entries, found))
        depths.append(ExQueryDepthSList(head))
    return [(returned, depths)]


# Doubly linked lists


def links(head: Any, entries: list[Any]) -> list[list[int | None]]:
    """Where head and entries point, as numbers of entries; None for the head."""
    return [
        [number_of(entries, link) for link in (entry.Flink, entry.Blink)]
        for entry in (head, *entries)
    ]


@DOUBLE.fact([None, [0, 0], 0, [None, None], None, True])
def an_insertion_into_an_empty_list_returns_NULL_and_so_does_a_removal_from_one() -> list[Any]:
    lock, head, entry = KSPIN_LOCK(), LIST_ENTRY(), LIST_ENTRY()
    InitializeListHead(head)
    inserted = ExInterlockedInsertHeadList(head, entry, lock)
    found: list[Any] = [number_of([entry], inserted), links(head, [entry])[0]]
    removed = ExInterlockedRemoveHeadList(head, lock)
    found += [number_of([entry], removed), links(head, [entry])[0]]
    found.append(number_of([entry], ExInterlockedRemoveHeadList(head, lock)))
    return [*found, int(entry.Flink) == int(entry.Blink) == int(head)]


@DOUBLE.fact([None, 0, 0, [[1, 2], [2, 1], [0, None], [None, 0]], 0])
def insertions_return_the_first_or_the_last_entry_of_before() -> list[Any]:
    lock, head = KSPIN_LOCK(), LIST_ENTRY()
    entries = [LIST_ENTRY() for _ in range(3)]
    InitializeListHead(head)
    found: list[Any] = [
        number_of(entries, ExInterlockedInsertTailList(head, entries[0], lock)),
        number_of(entries, ExInterlockedInsertHeadList(head, entries[1], lock)),
        number_of(entries, ExInterlockedInsertTailList(head, entries[2], lock)),
    ]
    return [*found, links(head, entries), KeGetCurrentIrql()]


test_fact = as_tests(INTERLOCKED, SINGLE, SEQUENCED, DOUBLE)
