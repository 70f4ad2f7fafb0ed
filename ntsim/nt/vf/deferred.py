"""An IRP that a driver has completed goes on up later, from a system worker thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import wdm_constants as c
from ntsim.abi.ex import WORK_QUEUE_ITEM
from ntsim.abi.io import IRP
from ntsim.nt.ex.work import ExQueueWorkItem
from ntsim.nt.io.irp import io_current_location

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

ARGUMENTS = WORK_QUEUE_ITEM.size
"""Behind the work item: the IRP, then the priority boost."""


def complete_later(nt: Kernel, irp: Any, boost: int) -> None:
    """Mark the current location pending and queue the rest of the completion."""
    io_current_location(nt, irp)._v.Control |= c.SL_PENDING_RETURNED
    address = nt.allocate_pool(ARGUMENTS + 16, "VfPn")
    item = WORK_QUEUE_ITEM.at(nt.mmu, address)
    v = item._v
    v.List_Flink = 0
    v.WorkerRoutine, v.Parameter = nt.internal_address(vf_complete_pended), address
    nt.mmu.write_word(address + ARGUMENTS, int(irp))
    nt.mmu.write_word(address + ARGUMENTS + 8, boost)
    ExQueueWorkItem(nt, item, c.CriticalWorkQueue)


def vf_complete_pended(nt: Kernel, parameter: int) -> int:
    """In a system worker: the completion goes on where it was broken off."""
    irp = IRP.at(nt.mmu, nt.mmu.read_word(parameter + ARGUMENTS))
    boost = nt.mmu.read_word(parameter + ARGUMENTS + 8)
    nt.free_pool(parameter)
    nt.io.complete(irp, boost)
    return 0
