"""A cancel-safe queue under every interleaving we can afford: each IRP comes out exactly once."""

import pytest

from ntsim.wdm import *

IRPS = 12


@pytest.mark.parametrize("seed", range(12))
def test_removing_and_cancelling_race_for_each_irp(value_of, seed) -> None:
    def work() -> list[list[int]]:
        csq, lock, irps = IO_CSQ(), KSPIN_LOCK(), LIST_ENTRY()
        removed, cancelled = [], []
        KeInitializeSpinLock(lock)
        InitializeListHead(irps)

        def insert(queue, irp) -> None:
            InsertTailList(irps, irp.Tail.Overlay.ListEntry)

        def remove(queue, irp) -> None:
            RemoveEntryList(irp.Tail.Overlay.ListEntry)

        def peek(queue, irp, context) -> int:
            entry = irp.Tail.Overlay.ListEntry.Flink if irp else irps.Flink
            if entry == irps:
                return 0
            return CONTAINING_RECORD(entry, IRP, "Tail.Overlay.ListEntry")

        def acquire(queue, irql) -> None:
            KeAcquireSpinLock(lock, irql)

        def release(queue, irql) -> None:
            KeReleaseSpinLock(lock, irql)

        def complete(queue, irp) -> None:
            cancelled.append(int(irp))

        IoCsqInitialize(csq, insert, remove, peek, acquire, release, complete)
        made = []
        for _ in range(IRPS):
            irp = IoAllocateIrp(1, FALSE)
            IoSetNextIrpStackLocation(irp)
            made.append(irp)

        def inserter(context) -> None:
            for irp in made:
                IoCsqInsertIrp(csq, irp, NULL)

        def remover(context) -> None:
            for _ in range(IRPS * 3):
                irp = IoCsqRemoveNextIrp(csq, NULL)
                if irp:
                    removed.append(int(irp))

        def canceller(context) -> None:
            for irp in reversed(made):
                IoCancelIrp(irp)

        threads = []
        for routine in (inserter, remover, canceller, remover):
            _, handle = PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, routine, NULL)
            threads.append(ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, NULL)[1])
        for thread in threads:
            KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, NULL)
        remover(NULL)
        return [list(map(int, made)), removed, cancelled]

    made, removed, cancelled = value_of(work, processors=4, seed=seed)
    assert sorted(removed + cancelled) == sorted(made)
