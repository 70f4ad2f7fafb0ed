"""Device queues, StartIo and the device's DPC: one IRP at a time, in order.

Source: Wine ntoskrnl tests test_queue; ReactOS kmtests KeDevQueue.c (fact F074); WDK IoStartPacket.
"""

import pytest

from ntsim.wdm import *


def queue_and_entries(count: int):
    queue = KDEVICE_QUEUE()
    KeInitializeDeviceQueue(queue)
    return queue, [KDEVICE_QUEUE_ENTRY() for _ in range(count)]


def test_an_idle_queue_becomes_busy_and_keeps_nothing(value_of) -> None:
    def body() -> list:
        queue, (one, two, three) = queue_and_entries(3)
        head = queue.DeviceListHead
        found = [queue.Type, queue.Size, queue.Busy, head.Flink == head]
        KeRaiseIrql(DISPATCH_LEVEL)
        found += [KeInsertDeviceQueue(queue, one), queue.Busy, one.Inserted, head.Flink == head]
        found += [KeInsertDeviceQueue(queue, two), two.Inserted, KeInsertDeviceQueue(queue, three)]
        found += [KeRemoveDeviceQueue(queue) == two, two.Inserted, queue.Busy]
        found += [KeRemoveDeviceQueue(queue) == three, queue.Busy]
        found += [int(KeRemoveDeviceQueue(queue)), queue.Busy]
        KeLowerIrql(PASSIVE_LEVEL)
        return found

    assert value_of(body) == [
        20, 0x28, 0, True, False, 1, 0, True, True, 1, True, True, 0, 1, True, 1, 0, 0,
    ]  # fmt: skip


def test_keys_sort_the_queue_and_removal_by_key_wraps_round(value_of) -> None:
    def body() -> list:
        queue, entries = queue_and_entries(6)
        for entry, key in zip(entries, (0, 50, 10, 30, 10, 70), strict=True):
            KeInsertByKeyDeviceQueue(queue, entry, key)
        found = []
        for key in (40, 60, 71, 0, 0, 0):
            entry = KeRemoveByKeyDeviceQueue(queue, key)
            found.append(entries.index(entry) if entry else None)
        return [*found, queue.Busy, int(KeRemoveByKeyDeviceQueueIfBusy(queue, 0))]

    assert value_of(body) == [1, 5, 2, 4, 3, None, 0, 0]


def test_an_entry_can_be_taken_out_once(value_of) -> None:
    def body() -> list:
        queue, (one, two) = queue_and_entries(2)
        KeInsertDeviceQueue(queue, one)
        KeInsertDeviceQueue(queue, two)
        found = [KeRemoveEntryDeviceQueue(queue, two), KeRemoveEntryDeviceQueue(queue, two)]
        return [*found, KeRemoveEntryDeviceQueue(queue, one), queue.Busy]

    assert value_of(body) == [True, False, False, 1]


class Rig:
    """A device whose StartIo notes which IRPs it was given."""

    def __init__(self, driver, at_once: bool = False) -> None:
        self.log: list = []
        self.depth = self.deepest = 0
        _, self.device = IoCreateDevice(driver, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        self.irps: list = []

        def start_io(DeviceObject, Irp) -> None:
            self.log.append((self.irps.index(Irp), KeGetCurrentIrql()))
            self.depth += 1
            self.deepest = max(self.deepest, self.depth)
            if at_once:
                IoStartNextPacket(DeviceObject, FALSE)
            self.depth -= 1

        driver.DriverStartIo = start_io

    def send(self, cancel=NULL, key=NULL):
        self.irps.append(IoAllocateIrp(1, FALSE))
        IoStartPacket(self.device, self.irps[-1], key, cancel)
        return self.irps[-1]

    def next(self, cancelable: int = FALSE) -> None:
        old = KeRaiseIrql(DISPATCH_LEVEL)
        IoStartNextPacket(self.device, cancelable)
        KeLowerIrql(old)


def test_start_io_gets_one_irp_at_a_time_at_dispatch_level(value_of) -> None:
    def body(DriverObject) -> list:
        rig = Rig(DriverObject)
        first = rig.send()
        rig.send()
        rig.send()
        found = [rig.log[:], rig.device.CurrentIrp == first, KeGetCurrentIrql()]
        for _ in range(3):
            rig.next()
        return [*found, rig.log, int(rig.device.CurrentIrp), rig.device.DeviceQueue.Busy]

    assert value_of(body) == [[(0, 2)], True, 0, [(0, 2), (1, 2), (2, 2)], 0, 0]


def test_packets_with_keys_are_started_in_the_order_of_their_keys(value_of) -> None:
    def body(DriverObject) -> list:
        rig, key = Rig(DriverObject), ULONG()
        for value in (5, 30, 10, 20):
            key[0] = value
            rig.send(key=key)
        rig.next()
        old = KeRaiseIrql(DISPATCH_LEVEL)
        IoStartNextPacketByKey(rig.device, FALSE, 25)
        KeLowerIrql(old)
        rig.next()
        return [number for number, _ in rig.log]

    assert value_of(body) == [0, 2, 1, 3]


@pytest.mark.parametrize(("deferred", "deepest"), [(FALSE, 4), (TRUE, 1)])
def test_deferred_start_io_does_not_nest(value_of, deferred: int, deepest: int) -> None:
    def body(DriverObject) -> list:
        rig = Rig(DriverObject)
        IoSetStartIoAttributes(rig.device, deferred, FALSE)
        for _ in range(5):
            rig.send()
        log, irps = rig.log, rig.irps

        def start_io(DeviceObject, Irp) -> None:
            log.append(irps.index(Irp))
            rig.depth += 1
            rig.deepest = max(rig.deepest, rig.depth)
            IoStartNextPacket(DeviceObject, FALSE)
            rig.depth -= 1

        DriverObject.DriverStartIo = start_io
        del log[:]
        rig.next()
        return [log, rig.deepest]

    assert value_of(body) == [[1, 2, 3, 4], deepest]


def test_a_queued_irp_can_be_cancelled_and_leaves_the_queue(value_of) -> None:
    def body(DriverObject) -> list:
        rig = Rig(DriverObject)
        cancelled = []

        def cancel(DeviceObject, Irp) -> None:
            if DeviceObject.CurrentIrp == Irp:
                IoReleaseCancelSpinLock(Irp.CancelIrql)
                return
            queue, entry = DeviceObject.DeviceQueue, Irp.Tail.Overlay.DeviceQueueEntry
            KeRemoveEntryDeviceQueue(queue, entry)
            IoReleaseCancelSpinLock(Irp.CancelIrql)
            cancelled.append(rig.irps.index(Irp))

        for _ in range(3):
            rig.send(cancel)
        IoSetNextIrpStackLocation(rig.irps[1])
        IoGetCurrentIrpStackLocation(rig.irps[1]).DeviceObject = rig.device
        found = [IoCancelIrp(rig.irps[1]), KeGetCurrentIrql()]
        rig.next(TRUE)
        return [*found, cancelled, [number for number, _ in rig.log]]

    assert value_of(body) == [True, 0, [1], [0, 2]]


def test_an_irp_cancelled_before_it_is_queued_is_cancelled_at_once(value_of) -> None:
    def body(DriverObject) -> list:
        rig, cancelled = Rig(DriverObject), []

        def cancel(DeviceObject, Irp) -> None:
            IoReleaseCancelSpinLock(Irp.CancelIrql)
            cancelled.append(int(Irp.CancelRoutine))

        rig.send(cancel)
        irp = IoAllocateIrp(1, FALSE)
        IoCancelIrp(irp)
        IoStartPacket(rig.device, irp, NULL, cancel)
        return [cancelled, KeGetCurrentIrql()]

    assert value_of(body) == [[0], 0]


@pytest.mark.parametrize("keep", [FALSE, TRUE])
def test_a_started_irp_loses_its_cancel_routine_if_asked_for(value_of, keep: int) -> None:
    def body(DriverObject) -> bool:
        rig = Rig(DriverObject)
        IoSetStartIoAttributes(rig.device, FALSE, not keep)
        irp = rig.send(lambda Device, Irp: None)
        return irp.CancelRoutine != 0

    assert value_of(body) == bool(keep)


def test_the_devices_dpc_gets_device_irp_and_context(value_of) -> None:
    def body(DriverObject) -> list:
        rig, seen = Rig(DriverObject), []
        irp = IoAllocateIrp(1, FALSE)

        def routine(Dpc, DeviceObject, Irp, Context) -> None:
            seen.append([int(DeviceObject), int(Irp), int(Context), KeGetCurrentIrql()])

        IoInitializeDpcRequest(rig.device, routine)
        IoRequestDpc(rig.device, irp, 0x1234)
        KeFlushQueuedDpcs()
        return seen == [[int(rig.device), int(irp), 0x1234, DISPATCH_LEVEL]]

    assert value_of(body)
