"""The executive's work queues.

Layout: Windows 10 build 19041 x64 public symbols.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import LONG, PVOID, ULONG
from ntsim.abi.structure import Structure, array, at

if TYPE_CHECKING:
    from ntsim.abi.ke import DISPATCHER_HEADER, PKEVENT
    from ntsim.abi.rtl import LIST_ENTRY


class KPRIQUEUE(Structure, size=0x2B0):
    Header: DISPATCHER_HEADER = at(0x00)
    EntryListHead = array("LIST_ENTRY", 32, 0x18)
    CurrentCount = array("LONG", 32, 0x218)
    MaximumCount: ULONG = at(0x298)
    ThreadListHead: LIST_ENTRY = at(0x2A0)


class EX_WORK_QUEUE(Structure, size=0x2E0):
    WorkPriQueue: KPRIQUEUE = at(0x00)
    Partition: PVOID = at(0x2B0)
    Node: PVOID = at(0x2B8)
    WorkItemsProcessed: ULONG = at(0x2C0)
    WorkItemsProcessedLastPass: ULONG = at(0x2C4)
    ThreadCount: LONG = at(0x2C8)
    MinThreads: LONG = at(0x2CC)
    MaxThreads: LONG = at(0x2D0)
    QueueIndex: LONG = at(0x2D4)
    AllThreadsExitedEvent: PKEVENT = at(0x2D8)


if TYPE_CHECKING:
    PKPRIQUEUE = KPRIQUEUE
    PEX_WORK_QUEUE = EX_WORK_QUEUE
