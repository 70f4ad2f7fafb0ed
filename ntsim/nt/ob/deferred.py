"""Objects whose last reference goes where their deletion may not run: a worker deletes them.

Deleting a file object calls its driver (IRP_MJ_CLOSE), which is done at PASSIVE_LEVEL. At a higher
IRQL or in a guarded region the object is put on ObpRemoveObjectList, linked by its header's
NextToFree, and a work item empties the list. Source: WDK ObDereferenceObject (callable at
DISPATCH_LEVEL), DispatchClose (called at PASSIVE_LEVEL); ReactOS ntoskrnl/ob/obref.c, oblife.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import wdm_constants as c
from ntsim.abi.ex import WORK_QUEUE_ITEM
from ntsim.abi.ob import OBJECT_HEADER
from ntsim.nt.ex.work import ExQueueWorkItem
from ntsim.nt.ki.apc import KeAreAllApcsDisabled
from ntsim.nt.mm.variables import mi_variable

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

_LIST, _ITEM = "ObpRemoveObjectList", "ObpRemoveObjectWorkItem"
_BODY = OBJECT_HEADER.offset_of("Body")


def obp_defer_deletion(nt: Kernel, body: int) -> bool:
    """Put an object without references on the list if it may not be deleted here."""
    if not KeAreAllApcsDisabled(nt):
        return False
    head, header = mi_variable(nt, _LIST), nt.ob.header(body)
    first = nt.mmu.read_word(head)
    header._v.NextToFree = first
    nt.mmu.write_word(head, int(header))
    if first:  # its worker is on its way
        return True
    item = WORK_QUEUE_ITEM.at(nt.mmu, mi_variable(nt, _ITEM, WORK_QUEUE_ITEM.size))
    item._v.WorkerRoutine = nt.internal_address(obp_process_remove_object_queue)
    ExQueueWorkItem(nt, item, c.CriticalWorkQueue)
    return True


def obp_process_remove_object_queue(nt: Kernel, parameter: int) -> int:
    """The worker routine: delete what is on the list, the oldest first."""
    head = mi_variable(nt, _LIST)
    waiting, header = [], nt.mmu.read_word(head)
    nt.mmu.write_word(head, 0)
    while header:
        waiting.append(header)
        v = OBJECT_HEADER.at(nt.mmu, header)._v
        header, v.NextToFree = v.NextToFree, 0
    for each in reversed(waiting):
        nt.ob.delete(each + _BODY)
    return 0
