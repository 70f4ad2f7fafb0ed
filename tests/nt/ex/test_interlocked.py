"""List operations under a spin lock, and sequenced lists.

Source of the results: WDK; ReactOS kmtests, ntos_ex: ExInterlocked.c, ExDoubleList.c,
ExSequencedList.c.
"""

from ntsim.wdm import *

TAG = 0x74736554


def new_list():
    head, lock = LIST_ENTRY(), KSPIN_LOCK()
    InitializeListHead(head)
    KeInitializeSpinLock(lock)
    return head, lock


def test_inserting_returns_what_was_there_and_removing_what_was_first(value_of) -> None:
    def work() -> list[bool]:
        head, lock = new_list()
        one, two, three = LIST_ENTRY(), LIST_ENTRY(), LIST_ENTRY()
        return [
            ExInterlockedRemoveHeadList(head, lock) == NULL,
            ExInterlockedInsertTailList(head, one, lock) == NULL,
            ExInterlockedInsertTailList(head, two, lock) == one,
            ExInterlockedInsertHeadList(head, three, lock) == one,
            ExInterlockedRemoveHeadList(head, lock) == three,
            ExInterlockedRemoveHeadList(head, lock) == one,
            ExInterlockedRemoveHeadList(head, lock) == two,
            ExInterlockedRemoveHeadList(head, lock) == NULL,
            lock[0] == 0,
        ]

    assert value_of(work) == [True] * 9


def test_they_work_at_high_level_and_leave_the_level_alone(value_of) -> None:
    def work() -> list[int]:
        head, lock = new_list()
        entry = LIST_ENTRY()
        old = KeRaiseIrql(HIGH_LEVEL)
        ExInterlockedInsertTailList(head, entry, lock)
        levels = [KeGetCurrentIrql()]
        KeLowerIrql(old)
        return [*levels, ExInterlockedRemoveHeadList(head, lock) == entry]

    assert value_of(work) == [15, True]


def test_they_wait_for_a_lock_that_another_processor_holds(value_of) -> None:
    def work() -> list[str]:
        head, lock = new_list()
        entry, order = LIST_ENTRY(), []
        ready = ULONG()

        def holder(context) -> None:
            KeSetSystemAffinityThread(2)
            old = KeAcquireSpinLock(lock)
            ready[0] = 1
            KeStallExecutionProcessor(50)
            order.append("released")
            KeReleaseSpinLock(lock, old)

        KeSetSystemAffinityThread(1)
        PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, holder, NULL)
        while not ready[0]:
            KeStallExecutionProcessor(1)
        ExInterlockedInsertTailList(head, entry, lock)
        order.append("inserted")
        return order

    assert value_of(work, processors=2) == ["released", "inserted"]


def test_a_corrupt_list_is_a_fast_fail(bugcheck_of) -> None:
    def work() -> None:
        head, lock = new_list()
        entry = LIST_ENTRY()
        ExInterlockedInsertTailList(head, entry, lock)
        entry.Blink = entry
        ExInterlockedRemoveHeadList(head, lock)

    stop = bugcheck_of(work)
    assert (stop.code, stop.parameters[0]) == (0x139, 3)


def test_counters(value_of) -> None:
    def work() -> list[int]:
        lock, small, large = KSPIN_LOCK(), ULONG(), LARGE_INTEGER()
        small[0], large.QuadPart = 0xFFFFFFFF, 5
        increment = LARGE_INTEGER()
        increment.QuadPart = -7
        return [
            ExInterlockedAddUlong(small, 2, lock),
            small[0],
            ExInterlockedAddLargeInteger(large, increment, lock).QuadPart,
            large.QuadPart,
        ]

    assert value_of(work) == [0xFFFFFFFF, 1, 5, -2]


def test_sequenced_lists(value_of) -> None:
    def work() -> list[object]:
        block = ExAllocatePoolWithTag(NonPagedPool, 128, TAG)
        head = cast(block, SLIST_HEADER)
        one, two = block + 32, block + 48
        ExInitializeSListHead(head)
        return [
            ExQueryDepthSList(head),
            ExInterlockedPopEntrySList(head, NULL) == NULL,
            ExInterlockedPushEntrySList(head, one, NULL) == NULL,
            ExInterlockedPushEntrySList(head, two, NULL) == one,
            ExQueryDepthSList(head),
            ExInterlockedPopEntrySList(head, NULL) == two,
            head.Alignment >> 16,
            ExInterlockedFlushSList(head) == one,
            ExQueryDepthSList(head),
        ]

    assert value_of(work) == [0, True, True, True, 2, True, 3, True, 0]
