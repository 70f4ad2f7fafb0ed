"""Facts of spin locks, affinity, device queues, the performance counter and stack limits."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, WINE, Facts, as_tests

SPIN_LOCK = Facts(f"{KMTESTS}/ntos_ke/KeSpinLock.c")
AFFINITY = Facts(f"{WINE}/driver.c test_affinity")
QUEUE = Facts(f"{KMTESTS}/ntos_ke/KeDevQueue.c")
WINE_QUEUE = Facts(f"{WINE}/driver.c test_queue")
COUNTER = Facts(f"{KMTESTS}/ntos_ke/KeQpc.c")
PROCESSOR = Facts(f"{KMTESTS}/ntos_ke/KeProcessor.c")
STACK = Facts(f"{WINE}/driver.c test_stack_limits")
CALLOUT = Facts(f"{WINE}/driver.c test_stack_callout")
LEVELS = [PASSIVE_LEVEL, APC_LEVEL, DISPATCH_LEVEL, HIGH_LEVEL]


@SPIN_LOCK.fact(lambda word: [word == 0], word=[0, 1, 2, (1 << 64) - 1, 1 << 63])
def KeTestSpinLock_calls_only_a_zero_word_free(word: int) -> list[bool]:
    lock = KSPIN_LOCK()
    lock[0] = word
    return [bool(KeTestSpinLock(lock))]


@SPIN_LOCK.fact(0)
def KeInitializeSpinLock_writes_zero() -> int:
    lock = KSPIN_LOCK()
    lock[0] = 0x5555555555555555
    KeInitializeSpinLock(lock)
    return lock[0]


@SPIN_LOCK.fact(
    lambda level, routine: [level, False, {"dpc": 2, "synch": 12}[routine], 1, True, level, 0],
    level=LEVELS, routine=["dpc", "synch"],
)  # fmt: skip
def acquiring_moves_to_the_routines_level_from_any_and_releasing_goes_back(
    level: int, routine: str
) -> list[Any]:
    KeRaiseIrql(level)
    lock = KSPIN_LOCK()
    acquire = {"dpc": KeAcquireSpinLockRaiseToDpc, "synch": KeAcquireSpinLockRaiseToSynch}[routine]
    old = acquire(lock)
    found = [old, bool(KeTestSpinLock(lock)), KeGetCurrentIrql(), lock[0]]
    KeReleaseSpinLock(lock, old)
    return [*found, bool(KeTestSpinLock(lock)), KeGetCurrentIrql(), lock[0]]


@SPIN_LOCK.fact(lambda level: [1, level, True, False, 1, 0, level], level=LEVELS)
def the_routines_for_dpc_level_do_not_touch_the_irql(level: int) -> list[Any]:
    KeRaiseIrql(level)
    lock = KSPIN_LOCK()
    KeAcquireSpinLockAtDpcLevel(lock)
    found: list[Any] = [lock[0], KeGetCurrentIrql()]
    KeReleaseSpinLockFromDpcLevel(lock)
    found.append(bool(KeTryToAcquireSpinLockAtDpcLevel(lock)))
    found.append(bool(KeTryToAcquireSpinLockAtDpcLevel(lock)))
    found.append(lock[0])
    KeReleaseSpinLockFromDpcLevel(lock)
    return [*found, lock[0], KeGetCurrentIrql()]


@SPIN_LOCK.fact(
    lambda level, routine: [True, 0, False, level, {"": 2, "Synch": 12}[routine], 0, True, level],
    level=LEVELS, routine=["", "Synch"],
)  # fmt: skip
def a_queued_lock_holds_its_handle_which_holds_the_old_irql(level: int, routine: str) -> list[Any]:
    KeRaiseIrql(level)
    lock, handle = KSPIN_LOCK(), KLOCK_QUEUE_HANDLE()
    RtlFillMemory(handle, sizeof(KLOCK_QUEUE_HANDLE), 0x55)
    if routine == "Synch":
        KeAcquireInStackQueuedSpinLockRaiseToSynch(lock, handle)
    else:
        KeAcquireInStackQueuedSpinLock(lock, handle)
    found = [lock[0] == int(handle), int(handle.LockQueue.Next), bool(KeTestSpinLock(lock))]
    found += [handle.OldIrql, KeGetCurrentIrql()]
    KeReleaseInStackQueuedSpinLock(handle)
    return [*found, lock[0], bool(KeTestSpinLock(lock)), KeGetCurrentIrql()]


@SPIN_LOCK.fact(
    lambda level, routine: [True, level, 0, level],
    level=LEVELS, routine=["AtDpcLevel", "ForDpc"],
)  # fmt: skip
def the_routines_for_dpcs_leave_the_irql_alone_with_queued_locks(
    level: int, routine: str
) -> list[Any]:
    KeRaiseIrql(level)
    lock, handle = KSPIN_LOCK(), KLOCK_QUEUE_HANDLE()
    if routine == "ForDpc":
        KeAcquireInStackQueuedSpinLockForDpc(lock, handle)
    else:
        KeAcquireInStackQueuedSpinLockAtDpcLevel(lock, handle)
    found = [lock[0] == int(handle), KeGetCurrentIrql()]
    if routine == "ForDpc":
        KeReleaseInStackQueuedSpinLockForDpc(handle)
    else:
        KeReleaseInStackQueuedSpinLockFromDpcLevel(handle)
    return [*found, lock[0], KeGetCurrentIrql()]


# Affinity


@AFFINITY.fact([0, 4, 4, 0b1111], {"processors": 4})
def processors_are_counted_by_group_and_in_all() -> list[int]:
    counts = [KeQueryActiveProcessorCountEx(group) for group in (1, 0, ALL_PROCESSOR_GROUPS)]
    return [*counts, KeQueryActiveProcessors()]


@AFFINITY.fact([0, 2, 1, 0b1111, 0, 0], {"processors": 4})
def KeSetSystemAffinityThreadEx_returns_the_system_affinity_it_replaces() -> list[int]:
    KeRevertToUserAffinityThreadEx(2)
    found = [KeSetSystemAffinityThreadEx(0)]
    KeRevertToUserAffinityThreadEx(2)
    found += [KeSetSystemAffinityThreadEx(1), KeSetSystemAffinityThreadEx((1 << 64) - 1)]
    KeRevertToUserAffinityThreadEx((1 << 64) - 1)
    found.append(KeSetSystemAffinityThreadEx(1))
    KeRevertToUserAffinityThreadEx(0)
    found.append(KeSetSystemAffinityThreadEx(1))
    KeRevertToUserAffinityThread()
    found.append(KeSetSystemAffinityThreadEx(1))
    KeRevertToUserAffinityThread()
    return found


@COUNTER.fact([0, 0], {"processors": 4})
def the_performance_counter_does_not_go_back_from_one_processor_to_another() -> list[int]:
    previous = KeQueryPerformanceCounter(NULL).QuadPart
    misplaced = backwards = 0
    for number in [0, 1, 2, 3] * 5:
        KeSetSystemAffinityThread(1 << number)
        misplaced += KeGetCurrentProcessorNumber() != number
        now = KeQueryPerformanceCounter(NULL).QuadPart
        backwards += now < previous
        previous = now
    KeRevertToUserAffinityThread()
    return [misplaced, backwards]


@PROCESSOR.fact([True] * 3, microseconds=[1, 50, 1000])
def a_stall_takes_its_time_and_little_more(microseconds: int) -> list[bool]:
    found = []
    for _ in range(3):
        before = KeQueryInterruptTime()
        KeStallExecutionProcessor(microseconds)
        taken = KeQueryInterruptTime() - before
        found.append(microseconds * 10 <= taken < microseconds * 10 + 20_000)
    return found


# Device queues


def new_queue() -> Any:
    queue = KDEVICE_QUEUE()
    RtlFillMemory(queue, sizeof(KDEVICE_QUEUE), 0xCD)
    KeInitializeDeviceQueue(queue)
    return queue


def keys(queue: Any) -> list[int]:
    head, found = queue.DeviceListHead, []
    entry = head.Flink
    while entry != head:
        found.append(CONTAINING_RECORD(entry, KDEVICE_QUEUE_ENTRY, "DeviceListEntry").SortKey)
        entry = entry.Flink
    return found


def filled() -> tuple[Any, list[Any]]:
    """A busy queue with five entries, their keys 0 to 4."""
    queue = new_queue()
    KeInsertDeviceQueue(queue, KDEVICE_QUEUE_ENTRY())
    entries = [KDEVICE_QUEUE_ENTRY() for _ in range(5)]
    for key, entry in enumerate(entries):
        entry.SortKey = key
        KeInsertDeviceQueue(queue, entry)
    return queue, entries


@WINE_QUEUE.fact([0, 0x28, 0x14, []])
def a_new_queue_is_idle_and_empty() -> list[Any]:
    queue = new_queue()
    return [queue.Busy, queue.Size, queue.Type, keys(queue)]


@QUEUE.fact([b"\xcd" * 8])
def KeInitializeDeviceQueue_writes_no_further_than_the_queue() -> list[bytes]:
    block = ExAllocatePoolWithTag(NonPagedPool, sizeof(KDEVICE_QUEUE) + 8, 1)
    RtlFillMemory(block, sizeof(KDEVICE_QUEUE) + 8, 0xCD)
    KeInitializeDeviceQueue(cast(block, PKDEVICE_QUEUE))
    return [read_bytes(block + sizeof(KDEVICE_QUEUE), 8)]


@WINE_QUEUE.fact([False, 1, 0, [], None, 0])
def an_idle_queue_takes_no_entry_and_an_empty_busy_one_becomes_idle() -> list[Any]:
    queue, entry = new_queue(), KDEVICE_QUEUE_ENTRY()
    inserted = bool(KeInsertDeviceQueue(queue, entry))
    found = [inserted, queue.Busy, entry.Inserted, keys(queue)]
    return [*found, KeRemoveDeviceQueue(queue) or None, queue.Busy]


@WINE_QUEUE.fact([True, 1, 1, True, 0, 1])
def a_removed_entry_leaves_the_queue_busy() -> list[Any]:
    queue, entry = new_queue(), KDEVICE_QUEUE_ENTRY()
    KeInsertDeviceQueue(queue, entry)
    found = [bool(KeInsertDeviceQueue(queue, entry)), queue.Busy, entry.Inserted]
    return [*found, KeRemoveDeviceQueue(queue) == entry, entry.Inserted, queue.Busy]


@WINE_QUEUE.fact([True, 1, 1, 1, True, True, 1])
def cancelling_a_queued_irp_leaves_it_in_its_device_queue() -> list[Any]:
    queue, calls = new_queue(), []

    def cancel(DeviceObject: Any, Irp: Any) -> None:
        IoReleaseCancelSpinLock(Irp.CancelIrql)
        calls.append(1)

    irp = IoAllocateIrp(1, FALSE)
    IoSetCancelRoutine(irp, cancel)
    entry = irp.Tail.Overlay.DeviceQueueEntry
    KeInsertDeviceQueue(queue, KDEVICE_QUEUE_ENTRY())
    found: list[Any] = [bool(KeInsertDeviceQueue(queue, entry))]
    IoCancelIrp(irp)
    found += [len(calls), entry.Inserted, queue.Busy]
    found += [KeRemoveDeviceQueue(queue) == entry, bool(irp.Cancel), queue.Busy]
    IoFreeIrp(irp)
    return found


@QUEUE.fact([[0, 1, 2, 3, 4], [1] * 5])
def a_busy_queue_keeps_the_order_and_does_not_touch_the_keys() -> list[Any]:
    KeRaiseIrql(DISPATCH_LEVEL)
    queue, entries = filled()
    return [keys(queue), [entry.Inserted for entry in entries]]


@QUEUE.fact([(True, 0, list(range(n + 1, 5))) for n in range(5)] + [(None, 0)])
def KeRemoveDeviceQueue_takes_the_head() -> list[Any]:
    KeRaiseIrql(DISPATCH_LEVEL)
    queue, entries = filled()
    found: list[Any] = []
    for entry in entries:
        found.append((KeRemoveDeviceQueue(queue) == entry, entry.Inserted, keys(queue)))
    return [*found, (KeRemoveDeviceQueue(queue) or None, queue.Busy)]


@QUEUE.fact([[True, True], [0, 2, 4], [False, False]])
def KeRemoveEntryDeviceQueue_takes_one_entry_once() -> list[Any]:
    KeRaiseIrql(DISPATCH_LEVEL)
    queue, entries = filled()
    first = [bool(KeRemoveEntryDeviceQueue(queue, entries[n])) for n in (1, 3)]
    left = keys(queue)
    return [first, left, [bool(KeRemoveEntryDeviceQueue(queue, entries[n])) for n in (1, 3)]]


@QUEUE.fact([False, 0, 1, [True] * 3, [1, 2, 3], [True, 0, False], [1, 3], None, 0])
def KeInsertByKeyDeviceQueue_sorts_by_key() -> list[Any]:
    queue, first = new_queue(), KDEVICE_QUEUE_ENTRY()
    KeRaiseIrql(DISPATCH_LEVEL)
    first.Inserted = TRUE
    found: list[Any] = [bool(KeInsertByKeyDeviceQueue(queue, first, 0)), first.Inserted, queue.Busy]
    entries = [KDEVICE_QUEUE_ENTRY() for _ in range(3)]
    inserted = [
        bool(KeInsertByKeyDeviceQueue(queue, entry, key))
        for entry, key in zip(entries, (3, 1, 2), strict=True)
    ]
    found += [inserted, keys(queue)]
    found.append([bool(KeRemoveEntryDeviceQueue(queue, entries[2])), entries[2].Inserted,
                  bool(KeRemoveEntryDeviceQueue(queue, entries[2]))])  # fmt: skip
    found.append([KeRemoveDeviceQueue(queue).SortKey for _ in range(2)])
    return [*found, KeRemoveDeviceQueue(queue) or None, queue.Busy]


# Stacks and version


@STACK.fact([True, True, True])
def a_local_variable_lies_within_the_stack_limits() -> list[bool]:
    low, high = ULONG_PTR(), ULONG_PTR()
    IoGetStackLimits(low, high)
    return [low[0] != 0, low[0] < high[0], low[0] < int(low) < high[0]]


@CALLOUT.fact([STATUS_SUCCESS, [0xDEADBEEF]], routine=["plain", "Ex"])
def a_callout_is_called_once_with_its_parameter(routine: str) -> list[Any]:
    calls: list[int] = []

    def callout(Parameter: Any) -> None:
        calls.append(int(Parameter))

    if routine == "Ex":
        status = KeExpandKernelStackAndCalloutEx(callout, 0xDEADBEEF, 4096, FALSE, NULL)
    else:
        status = KeExpandKernelStackAndCallout(callout, 0xDEADBEEF, 4096)
    return [status, calls]


test_fact = as_tests(SPIN_LOCK, AFFINITY, COUNTER, PROCESSOR, QUEUE, WINE_QUEUE, STACK, CALLOUT)
