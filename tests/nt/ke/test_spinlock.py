"""Spin locks: the bytes of the lock, the level, and what two processors do to each other."""

import pytest

from ntsim.wdm import *


def test_acquiring_raises_to_dispatch_level_and_sets_bit_0(value_of) -> None:
    def body() -> list[int]:
        lock = KSPIN_LOCK()
        KeInitializeSpinLock(lock)
        OldIrql = KeAcquireSpinLock(lock)
        held = [OldIrql, KeGetCurrentIrql(), lock[0] & 1, KeTestSpinLock(lock)]
        KeReleaseSpinLock(lock, OldIrql)
        return [*held, KeGetCurrentIrql(), lock[0], KeTestSpinLock(lock)]

    assert value_of(body) == [0, 2, 1, False, 0, 0, True]


def test_the_dpc_level_forms_leave_the_irql_alone(value_of) -> None:
    def body() -> list[int]:
        lock = KSPIN_LOCK()
        KeAcquireSpinLockAtDpcLevel(lock)
        levels = [KeGetCurrentIrql(), KeTryToAcquireSpinLockAtDpcLevel(lock)]
        KeReleaseSpinLockFromDpcLevel(lock)
        return [*levels, KeTryToAcquireSpinLockAtDpcLevel(lock)]

    assert value_of(body) == [0, False, True]


def test_the_forms_for_dpcs_raise_nothing_in_a_thread(value_of) -> None:
    """Source: openzfsonwindows/ZFSin pull request 221, where a lock was held that way."""

    def body() -> list[int]:
        lock, handle = KSPIN_LOCK(), KLOCK_QUEUE_HANDLE()
        old = KeAcquireSpinLockForDpc(lock)
        seen = [old, KeGetCurrentIrql(), KeTestSpinLock(lock)]
        KeReleaseSpinLockForDpc(lock, old)
        seen += [KeGetCurrentIrql(), KeTestSpinLock(lock)]
        KeAcquireInStackQueuedSpinLockForDpc(lock, handle)
        seen += [handle.OldIrql, KeGetCurrentIrql(), lock[0] == int(handle)]
        KeReleaseInStackQueuedSpinLockForDpc(handle)
        return [*seen, KeGetCurrentIrql(), lock[0]]

    assert value_of(body) == [0, 0, False, 0, True, 0, 0, True, 0, 0]


def test_releasing_to_a_wrong_level_takes_effect(value_of) -> None:
    """A free build believes the caller."""

    def body() -> int:
        lock = KSPIN_LOCK()
        KeAcquireSpinLock(lock)
        KeReleaseSpinLock(lock, APC_LEVEL)
        return KeGetCurrentIrql()

    assert value_of(body) == 1


@pytest.mark.parametrize("processors", [1, 2])
def test_acquiring_a_lock_twice_on_one_processor_bugchecks_0x133(
    bugcheck_of, processors: int
) -> None:
    def body() -> None:
        lock = KSPIN_LOCK()
        KeAcquireSpinLock(lock)
        KeAcquireSpinLock(lock)

    stop = bugcheck_of(body, processors=processors)
    assert (stop.code, stop.parameters[:2]) == (0x133, (1, 0x1E00))


def test_an_in_stack_queued_lock_holds_the_handles_address_while_held(value_of) -> None:
    def body() -> list[int]:
        lock, handle = KSPIN_LOCK(), KLOCK_QUEUE_HANDLE()
        KeAcquireInStackQueuedSpinLock(lock, handle)
        held = [lock[0] == handle, handle.OldIrql, KeGetCurrentIrql()]
        KeReleaseInStackQueuedSpinLock(handle)
        return [*held, lock[0], KeGetCurrentIrql()]

    assert value_of(body) == [True, 0, 2, 0, 0]


COUNTER = """
from ntsim.wdm import *

ROUNDS = 20
LOCKED = {locked}

class SHARED(Structure):
    Count: ULONG
    Lock: KSPIN_LOCK
    Left: LONG
    Done: KEVENT

def Worker(Context):
    shared = cast(Context, POINTER(SHARED))
    for i in range(ROUNDS):
        if LOCKED:
            OldIrql = KeAcquireSpinLock(shared + SHARED.offset_of("Lock"))
        shared.Count += 1
        if LOCKED:
            KeReleaseSpinLock(shared + SHARED.offset_of("Lock"), OldIrql)
    if InterlockedDecrement(shared + SHARED.offset_of("Left")) == 0:
        KeSetEvent(shared.Done, 0, FALSE)
    PsTerminateSystemThread(STATUS_SUCCESS)

def DriverEntry(DriverObject, RegistryPath):
    shared = SHARED()
    shared.Left = 2
    KeInitializeSpinLock(shared + SHARED.offset_of("Lock"))
    KeInitializeEvent(shared.Done, NotificationEvent, FALSE)
    for number in range(2):
        Status, Handle = PsCreateSystemThread(0, NULL, NULL, NULL, Worker, shared)
        ZwClose(Handle)
    KeWaitForSingleObject(shared.Done, Executive, KernelMode, FALSE, NULL)
    DbgPrint("%u\\n", shared.Count)
    return STATUS_SUCCESS
"""


@pytest.fixture
def count(tmp_path, ntsim_machine):
    """What two threads on two processors count to together, adding 20 each."""

    def run(seed: int, locked: bool) -> int:
        path = tmp_path / f"counter{locked}.py"
        path.write_text(COUNTER.format(locked=locked))
        machine = ntsim_machine(processors=2, seed=seed)
        machine.load_driver(path)
        return int(machine.debug_output[-1])

    return run


def test_two_processors_lose_updates_of_x_f_under_some_seed_without_the_lock(count) -> None:
    assert any(count(seed, locked=False) < 40 for seed in range(1, 9))


@pytest.mark.parametrize("seed", range(4))
def test_two_processors_never_lose_updates_with_the_lock(count, seed: int) -> None:
    assert count(seed, locked=True) == 40
