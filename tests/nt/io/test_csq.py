"""Cancel-safe queues: every IRP comes out exactly once, whoever asks first. Source: WDK, csq.h."""

from ntsim.wdm import *


class Queue:
    """A driver's queue: a list, a spin lock, and a record of what the kernel asked for."""

    def __init__(self) -> None:
        self.csq, self.lock, self.irps = IO_CSQ(), KSPIN_LOCK(), LIST_ENTRY()
        self.calls: list[tuple[str, int]] = []
        self.cancelled: list[int] = []
        KeInitializeSpinLock(self.lock)
        InitializeListHead(self.irps)

    def initialize(self, extended: bool = False, refuse: int = 0) -> int:
        calls, lock, irps = self.calls, self.lock, self.irps

        def insert(csq, irp) -> None:
            calls.append(("insert", KeGetCurrentIrql()))
            InsertTailList(irps, irp.Tail.Overlay.ListEntry)

        def insert_ex(csq, irp, context) -> int:
            calls.append(("insert", context))
            if refuse:
                return refuse
            InsertTailList(irps, irp.Tail.Overlay.ListEntry)
            return STATUS_SUCCESS

        def remove(csq, irp) -> None:
            calls.append(("remove", KeGetCurrentIrql()))
            RemoveEntryList(irp.Tail.Overlay.ListEntry)

        def peek(csq, irp, context) -> int:
            entry = irp.Tail.Overlay.ListEntry.Flink if irp else irps.Flink
            while entry != irps:
                found = CONTAINING_RECORD(entry, IRP, "Tail.Overlay.ListEntry")
                if not context or found.Tail.Overlay.DriverContext[0] == context:
                    return found
                entry = entry.Flink
            return 0

        def acquire(csq, irql) -> None:
            KeAcquireSpinLock(lock, irql)

        def release(csq, irql) -> None:
            KeReleaseSpinLock(lock, irql)

        def complete(csq, irp) -> None:
            calls.append(("complete", KeGetCurrentIrql()))
            irp.IoStatus.Status = STATUS_CANCELLED
            self.cancelled.append(int(irp))

        start = IoCsqInitializeEx if extended else IoCsqInitialize
        first = insert_ex if extended else insert
        return start(self.csq, first, remove, peek, acquire, release, complete)


def new_irp(mark: int = 0):
    irp = IoAllocateIrp(2, FALSE)
    IoSetNextIrpStackLocation(irp)
    irp.Tail.Overlay.DriverContext[0] = mark
    return irp


def is_pending(irp) -> bool:
    return bool(IoGetCurrentIrpStackLocation(irp).Control & SL_PENDING_RETURNED)


def test_irps_come_out_in_order_pending_and_without_cancel_routine(value_of) -> None:
    def work() -> list[object]:
        queue = Queue()
        queue.initialize()
        irps = [new_irp() for _ in range(3)]
        for irp in irps:
            IoCsqInsertIrp(queue.csq, irp, NULL)
        marks = [is_pending(irp) and irp.CancelRoutine != 0 for irp in irps]
        out = [int(IoCsqRemoveNextIrp(queue.csq, NULL)) for _ in range(4)]
        routines = [irp.CancelRoutine for irp in irps]
        return [marks, out == [*map(int, irps), 0], routines, queue.calls, KeGetCurrentIrql()]

    marks, in_order, routines, calls, irql = value_of(work)
    assert marks == [True] * 3
    assert in_order
    assert routines == [0, 0, 0]
    assert calls == [("insert", 2)] * 3 + [("remove", 2)] * 3
    assert irql == 0


def test_cancelling_a_queued_irp_completes_it_outside_the_lock(value_of) -> None:
    def work() -> list[object]:
        queue = Queue()
        queue.initialize()
        irp = new_irp()
        IoCsqInsertIrp(queue.csq, irp, NULL)
        returned = IoCancelIrp(irp)
        return [returned, queue.cancelled == [irp], queue.calls, IsListEmpty(queue.irps)]

    assert value_of(work) == [
        True,
        True,
        [("insert", 2), ("remove", 2), ("complete", 0)],
        True,
    ]


def test_an_irp_cancelled_before_it_is_inserted_is_completed_at_once(value_of) -> None:
    def work() -> list[object]:
        queue = Queue()
        queue.initialize()
        irp = new_irp()
        cancelled = IoCancelIrp(irp)
        IoCsqInsertIrp(queue.csq, irp, NULL)
        out = IoCsqRemoveNextIrp(queue.csq, NULL)
        return [cancelled, queue.cancelled == [irp], int(out), irp.Tail.Overlay.DriverContext[3]]

    assert value_of(work) == [False, True, 0, 0]


def test_a_context_finds_its_irp_once(value_of) -> None:
    def work() -> list[object]:
        queue = Queue()
        queue.initialize()
        context, other = IO_CSQ_IRP_CONTEXT(), IO_CSQ_IRP_CONTEXT()
        first, second = new_irp(), new_irp()
        IoCsqInsertIrp(queue.csq, first, context)
        IoCsqInsertIrp(queue.csq, second, other)
        out = [IoCsqRemoveIrp(queue.csq, context) == first, IoCsqRemoveIrp(queue.csq, context)]
        IoCancelIrp(second)
        return [*map(int, out), int(other.Irp), int(IoCsqRemoveIrp(queue.csq, other))]

    assert value_of(work) == [1, 0, 0, 0]


def test_removing_the_next_irp_clears_its_context(value_of) -> None:
    def work() -> list[int]:
        queue = Queue()
        queue.initialize()
        context = IO_CSQ_IRP_CONTEXT()
        irp = new_irp()
        IoCsqInsertIrp(queue.csq, irp, context)
        IoCsqRemoveNextIrp(queue.csq, NULL)
        return [int(context.Irp), int(IoCsqRemoveIrp(queue.csq, context))]

    assert value_of(work) == [0, 0]


def test_a_peek_context_selects(value_of) -> None:
    def work() -> list[bool]:
        queue = Queue()
        queue.initialize()
        irps = [new_irp(mark) for mark in (1, 2, 1)]
        for irp in irps:
            IoCsqInsertIrp(queue.csq, irp, NULL)
        wanted = (2, 2, 1, 1, 1)
        out = [int(IoCsqRemoveNextIrp(queue.csq, mark)) for mark in wanted]
        return out == [int(irps[1]), 0, int(irps[0]), int(irps[2]), 0]

    assert value_of(work)


def test_an_irp_whose_cancel_routine_is_under_way_is_passed_over(value_of) -> None:
    """Whoever exchanges the cancel routine away owns the IRP."""

    def work() -> list[bool]:
        queue = Queue()
        queue.initialize()
        irps = [new_irp() for _ in range(2)]
        for irp in irps:
            IoCsqInsertIrp(queue.csq, irp, NULL)
        IoSetCancelRoutine(irps[0], NULL)
        return [IoCsqRemoveNextIrp(queue.csq, NULL) == irps[1], IsListEmpty(queue.irps)]

    assert value_of(work) == [True, False]


def test_an_extended_insert_routine_gets_its_context_and_may_refuse(value_of) -> None:
    def work() -> list[object]:
        found = []
        for refuse in (0, STATUS_DEVICE_BUSY):
            queue, irp = Queue(), new_irp()
            queue.initialize(extended=True, refuse=refuse)
            status = IoCsqInsertIrpEx(queue.csq, irp, NULL, 0x77)
            found.append((status, queue.calls, is_pending(irp), irp.CancelRoutine != 0))
        return found

    assert value_of(work) == [
        (0, [("insert", 0x77)], True, True),
        (STATUS_DEVICE_BUSY, [("insert", 0x77)], False, False),
    ]


def test_thousands_of_calls_use_no_kernel_stack(value_of) -> None:
    """The KIRQL behind CsqAcquireLock goes with the call."""

    def work() -> int:
        queue = Queue()
        queue.initialize()
        irp = new_irp()
        for _ in range(5000):
            IoCsqInsertIrp(queue.csq, irp, NULL)
            IoCsqRemoveNextIrp(queue.csq, NULL)
        return len(queue.calls)

    assert value_of(work) == 10000
