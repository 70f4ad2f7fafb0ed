"""Work items: ExInitializeWorkItem, ExQueueWorkItem.

Obsolete for drivers, because nothing keeps the driver loaded while its item is queued. Source: WDK
ExQueueWorkItem; bug check 0xE4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import bugcodes
from ntsim.abi import wdm_constants as c
from ntsim.abi.scalars import PVOID, PWORKER_THREAD_ROUTINE, WORK_QUEUE_TYPE
from ntsim.nt.ex.work_queue import PRIORITIES, exp_work_queue
from ntsim.nt.exports import export
from ntsim.nt.mm.layout import is_user_address

if TYPE_CHECKING:
    from ntsim.abi.ex import PWORK_QUEUE_ITEM
    from ntsim.nt.kernel import Kernel

ALREADY_QUEUED, BAD_TYPE, BAD_ROUTINE = 1, 6, 7
"""Parameter 1 of bug check 0xE4."""


@export(irql="any", inline=True)
def ExInitializeWorkItem(
    nt: Kernel, Item: PWORK_QUEUE_ITEM, Routine: PWORKER_THREAD_ROUTINE, Context: PVOID
) -> None:
    """A work item that is not queued. Source: WDK ExInitializeWorkItem."""
    v = Item._v
    v.WorkerRoutine, v.Parameter, v.List_Flink = int(Routine), int(Context), 0


@export(irql="<= DISPATCH")
def ExQueueWorkItem(nt: Kernel, WorkItem: PWORK_QUEUE_ITEM, QueueType: WORK_QUEUE_TYPE) -> None:
    """Let a system worker thread call the item's routine at PASSIVE_LEVEL.

    Queueing a queued item, to a queue that is none, or with a user-mode routine is 0xE4. Source:
    WDK ExQueueWorkItem.
    """
    custom = QueueType - c.CustomPriorityWorkQueue
    priority = custom if 0 <= custom < 32 else PRIORITIES.get(QueueType)
    v = WorkItem._v
    code = bugcodes.WORKER_INVALID
    if priority is None:
        nt.bugcheck(code, BAD_TYPE, int(WorkItem), QueueType, 0)
    if v.List_Flink:
        nt.bugcheck(code, ALREADY_QUEUED, int(WorkItem), QueueType, 0)
    if is_user_address(v.WorkerRoutine):
        nt.bugcheck(code, BAD_ROUTINE, int(WorkItem), QueueType, 0)
    exp_work_queue(nt).insert(WorkItem, priority)
