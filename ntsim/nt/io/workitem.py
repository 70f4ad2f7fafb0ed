"""I/O work items: a driver's routine in a system worker thread, with its device held meanwhile.

The object is referenced from queueing until the routine has returned. The routine may free or queue
its item again. Source: WDK IoQueueWorkItem, IoInitializeWorkItem; bug check 0xE4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import bugcodes
from ntsim.abi.io import DEVICE_OBJECT, DRIVER_OBJECT, IO_WORKITEM
from ntsim.abi.scalars import (
    BOOLEAN,
    PIO_WORKITEM_ROUTINE,
    PIO_WORKITEM_ROUTINE_EX,
    PVOID,
    ULONG,
    WORK_QUEUE_TYPE,
)
from ntsim.nt.events import WorkItemStarted
from ntsim.nt.ex.work import ExQueueWorkItem
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT, PIO_WORKITEM
    from ntsim.nt.kernel import Kernel

FREED_QUEUED, BAD_OBJECT = 2, 3
"""Parameter 1 of bug check 0xE4."""

EXTENDED = 1
"""IO_WORKITEM.Type here: the routine also gets the item."""

TAG = "IoWi"


def iop_io_object(nt: Kernel, address: int) -> Any:
    """The device or driver object at an address, None if there is no such object."""
    nt.mmu.read_word(address)  # the Type field, wherever `address` leads
    if not nt.ob.is_object(address):
        return None
    kinds: dict[Any, Any] = {nt.io.device_type: DEVICE_OBJECT, nt.io.driver_type: DRIVER_OBJECT}
    kind = kinds.get(nt.ob.type_of(address))
    return kind.at(nt.mmu, address) if kind is not None else None


def iop_queue(
    nt: Kernel, item: PIO_WORKITEM, routine: int, queue: int, context: int, kind: int
) -> None:
    """Fill in and queue an item."""
    v = item._v
    if not v.WorkItem_List_Flink:
        v.WorkItem_WorkerRoutine = nt.internal_address(iop_process_work_item)
        v.WorkItem_Parameter = int(item)
        v.Routine, v.Context, v.Type = int(routine), int(context), kind
        nt.ob.reference(v.IoObject)
    ExQueueWorkItem(nt, item.WorkItem, queue)


def iop_process_work_item(nt: Kernel, parameter: int) -> int:
    """The worker routine of every I/O work item: calls the driver's, then lets the object go."""
    item = IO_WORKITEM.at(nt.mmu, parameter)
    v = item._v
    address, routine, context, kind = v.IoObject, v.Routine, v.Context, v.Type
    nt.emit(WorkItemStarted, int(item), nt.describe_address(routine))
    target = iop_io_object(nt, address)
    if kind == EXTENDED:
        nt.call(routine, target, context, item)
    else:
        nt.call(routine, target, context)
    nt.ob.dereference(address)
    return 0


def iop_check_not_queued(nt: Kernel, item: PIO_WORKITEM) -> None:
    v = item._v
    if v.WorkItem_List_Flink:
        nt.bugcheck(bugcodes.WORKER_INVALID, FREED_QUEUED, int(item), v.Routine, 0)


@export(irql="<= DISPATCH")
def IoAllocateWorkItem(nt: Kernel, DeviceObject: PDEVICE_OBJECT) -> PIO_WORKITEM:
    """A work item of a device; NULL if memory is short. Source: WDK IoAllocateWorkItem."""
    item = IO_WORKITEM.at(nt.mmu, nt.allocate_pool(IO_WORKITEM.size, TAG))
    if item:
        IoInitializeWorkItem(nt, int(DeviceObject), item)
    return item  # type: ignore[no-any-return]


@export(irql="<= DISPATCH")
def IoFreeWorkItem(nt: Kernel, IoWorkItem: PIO_WORKITEM) -> None:
    """Free an allocated item; one that is queued is 0xE4. Source: WDK IoFreeWorkItem."""
    iop_check_not_queued(nt, IoWorkItem)
    nt.free_pool(int(IoWorkItem))


@export(irql="any")
def IoInitializeWorkItem(nt: Kernel, IoObject: PVOID, IoWorkItem: PIO_WORKITEM) -> None:
    """An item in the caller's memory, IoSizeofWorkItem bytes of it.

    IoObject is a device or driver object, anything else 0xE4. Source: WDK IoInitializeWorkItem.
    """
    if iop_io_object(nt, int(IoObject)) is None:
        nt.bugcheck(bugcodes.WORKER_INVALID, BAD_OBJECT, int(IoWorkItem), int(IoObject), 0)
    nt.mmu.write(int(IoWorkItem), bytes(IO_WORKITEM.size))
    IoWorkItem._v.IoObject = int(IoObject)


@export(irql="any")
def IoUninitializeWorkItem(nt: Kernel, IoWorkItem: PIO_WORKITEM) -> None:
    """The item is not used any more; one that is queued is 0xE4. Source: WDK."""
    iop_check_not_queued(nt, IoWorkItem)


@export(irql="any")
def IoSizeofWorkItem(nt: Kernel) -> ULONG:
    """Bytes of an IO_WORKITEM. Source: WDK IoSizeofWorkItem."""
    return IO_WORKITEM.size


@export(irql="<= DISPATCH")
def IoQueueWorkItem(
    nt: Kernel,
    IoWorkItem: PIO_WORKITEM,
    WorkerRoutine: PIO_WORKITEM_ROUTINE,
    QueueType: WORK_QUEUE_TYPE,
    Context: PVOID,
) -> None:
    """Have WorkerRoutine(IoObject, Context) called in a system thread. Source: WDK."""
    iop_queue(nt, IoWorkItem, WorkerRoutine, QueueType, Context, 0)


@export(irql="<= DISPATCH")
def IoQueueWorkItemEx(
    nt: Kernel,
    IoWorkItem: PIO_WORKITEM,
    WorkerRoutine: PIO_WORKITEM_ROUTINE_EX,
    QueueType: WORK_QUEUE_TYPE,
    Context: PVOID,
) -> None:
    """Have WorkerRoutine(IoObject, Context, IoWorkItem) called in a system thread. Source: WDK."""
    iop_queue(nt, IoWorkItem, WorkerRoutine, QueueType, Context, EXTENDED)


@export(irql="<= DISPATCH")
def IoTryQueueWorkItem(
    nt: Kernel,
    IoWorkItem: PIO_WORKITEM,
    WorkerRoutine: PIO_WORKITEM_ROUTINE_EX,
    QueueType: WORK_QUEUE_TYPE,
    Context: PVOID,
) -> BOOLEAN:
    """As IoQueueWorkItemEx; FALSE, and nothing done, if the item is queued already. Source: WDK."""
    if IoWorkItem._v.WorkItem_List_Flink:
        return False
    IoQueueWorkItemEx(nt, IoWorkItem, WorkerRoutine, QueueType, Context)
    return True
