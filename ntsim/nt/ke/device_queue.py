"""Device queues: KDEVICE_QUEUE, which is busy while a driver works on one entry.

Inserting into a queue that is not busy makes it busy and leaves the entry with the caller; removing
from a busy queue that is empty ends that. A free build does not ask whether the queue is busy. All
of it happens under the queue's lock at DISPATCH_LEVEL. Source: WDK "Setting Up and Using Device
Queues"; Wine ntoskrnl tests test_queue; ReactOS kmtests KeDevQueue.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.ke import KDEVICE_QUEUE, KDEVICE_QUEUE_ENTRY
from ntsim.abi.kernel_enums import DeviceQueueObject
from ntsim.abi.scalars import BOOLEAN, ULONG
from ntsim.nt.exports import export
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.abi.ke import PKDEVICE_QUEUE, PKDEVICE_QUEUE_ENTRY
    from ntsim.nt.kernel import Kernel

_HEAD = KDEVICE_QUEUE.offset_of("DeviceListHead")


def entry_at(nt: Kernel, address: int) -> PKDEVICE_QUEUE_ENTRY:
    return KDEVICE_QUEUE_ENTRY.at(nt.mmu, address)  # type: ignore[no-any-return]


def ki_occupy(queue: PKDEVICE_QUEUE, entry: PKDEVICE_QUEUE_ENTRY) -> bool:
    """Make the queue busy; whether it was, so that the entry has to be queued."""
    was_busy = bool(queue._v.Busy)
    queue._v.Busy = 1
    entry._v.Inserted = int(was_busy)
    return was_busy


def ki_take(nt: Kernel, queue: PKDEVICE_QUEUE, address: int) -> PKDEVICE_QUEUE_ENTRY:
    """Unlink the entry at `address`; with the list's head, nothing is left and the queue idle."""
    if address == int(queue) + _HEAD:
        queue._v.Busy = 0
        return entry_at(nt, 0)
    lists.remove(nt.mmu, address)
    entry = entry_at(nt, address)
    entry._v.Inserted = 0
    return entry


def ki_first_from(nt: Kernel, head: int, key: int) -> int:
    """The first entry whose key is at least `key`, else the first of all, else the head."""
    found = lists.entries(nt.mmu, head)
    behind = (at for at in found if entry_at(nt, at)._v.SortKey >= key)
    return next(behind, found[0] if found else head)


@export(irql="<= DISPATCH")
def KeInitializeDeviceQueue(nt: Kernel, DeviceQueue: PKDEVICE_QUEUE) -> None:
    """An empty queue that is not busy. Source: WDK KeInitializeDeviceQueue."""
    v = DeviceQueue._v
    v.Type, v.Size, v.Lock, v.Busy = DeviceQueueObject, KDEVICE_QUEUE.size, 0, 0
    lists.initialize(nt.mmu, int(DeviceQueue) + _HEAD)


@export(irql="== DISPATCH")
def KeInsertDeviceQueue(
    nt: Kernel, DeviceQueue: PKDEVICE_QUEUE, DeviceQueueEntry: PKDEVICE_QUEUE_ENTRY
) -> BOOLEAN:
    """Queue the entry last if the queue is busy (TRUE), else make it busy. Source: WDK."""
    busy = ki_occupy(DeviceQueue, DeviceQueueEntry)
    if busy:
        lists.insert_tail(nt.mmu, int(DeviceQueue) + _HEAD, int(DeviceQueueEntry))
    return busy


@export(irql="== DISPATCH")
def KeInsertByKeyDeviceQueue(
    nt: Kernel, DeviceQueue: PKDEVICE_QUEUE, DeviceQueueEntry: PKDEVICE_QUEUE_ENTRY, SortKey: ULONG
) -> BOOLEAN:
    """KeInsertDeviceQueue behind the entries whose keys are not greater. Source: WDK."""
    busy = ki_occupy(DeviceQueue, DeviceQueueEntry)
    DeviceQueueEntry._v.SortKey = SortKey
    if busy:
        head = int(DeviceQueue) + _HEAD
        entries = lists.entries(nt.mmu, head)
        before = (at for at in entries if entry_at(nt, at)._v.SortKey > SortKey)
        lists.insert_tail(nt.mmu, next(before, head), int(DeviceQueueEntry))
    return busy


@export(irql="== DISPATCH")
def KeRemoveDeviceQueue(nt: Kernel, DeviceQueue: PKDEVICE_QUEUE) -> PKDEVICE_QUEUE_ENTRY:
    """The first entry; NULL, and the queue is not busy any more, if there is none. Source: WDK."""
    return ki_take(nt, DeviceQueue, nt.read_pointer(int(DeviceQueue) + _HEAD))


@export(irql="== DISPATCH")
def KeRemoveByKeyDeviceQueue(
    nt: Kernel, DeviceQueue: PKDEVICE_QUEUE, SortKey: ULONG
) -> PKDEVICE_QUEUE_ENTRY:
    """The first entry with at least that key, else the first of all. Source: WDK."""
    return ki_take(nt, DeviceQueue, ki_first_from(nt, int(DeviceQueue) + _HEAD, SortKey))


@export(irql="== DISPATCH")
def KeRemoveByKeyDeviceQueueIfBusy(
    nt: Kernel, DeviceQueue: PKDEVICE_QUEUE, SortKey: ULONG
) -> PKDEVICE_QUEUE_ENTRY:
    """KeRemoveByKeyDeviceQueue of a busy queue, NULL of another. Source: ntddk.h."""
    if not DeviceQueue._v.Busy:
        return entry_at(nt, 0)
    return KeRemoveByKeyDeviceQueue(nt, DeviceQueue, SortKey)


@export(irql="<= DISPATCH")
def KeRemoveEntryDeviceQueue(
    nt: Kernel, DeviceQueue: PKDEVICE_QUEUE, DeviceQueueEntry: PKDEVICE_QUEUE_ENTRY
) -> BOOLEAN:
    """Take out this entry; FALSE if it is in no queue. The queue stays busy. Source: WDK."""
    if not DeviceQueueEntry._v.Inserted:
        return False
    ki_take(nt, DeviceQueue, int(DeviceQueueEntry))
    return True
