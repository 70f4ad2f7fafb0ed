"""PnP IRPs as the PnP manager sends them: to the top of the stack, at PASSIVE_LEVEL, one at a time.

IoStatus.Status starts as STATUS_NOT_SUPPORTED, so that what nobody handled is told from what
failed. Source: WDK "PnP IRPs", "Rules for handling PnP IRPs"; WDK IRP_MJ_PNP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.ke import KEVENT
from ntsim.nt.io.call import IofCallDriver
from ntsim.nt.io.device import iop_top_of
from ntsim.nt.io.irp import io_allocate_irp, io_next_location, queue_to_thread
from ntsim.nt.ke.objects import KeInitializeEvent
from ntsim.nt.ke.wait import NOTIFICATION_EVENT, WAIT_ANY, ki_wait

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

_EVENT = 0x10
_BLOCK = _EVENT + KEVENT.size
_ARGUMENTS = tuple(f"Parameters_Others_Argument{n}" for n in (1, 2, 3, 4))


def iop_synchronous_call(
    nt: Kernel,
    device: Any,
    minor: int,
    arguments: tuple[int, ...] = (),
    *,
    major: int = c.IRP_MJ_PNP,
    status: int = ntstatus.STATUS_NOT_SUPPORTED,
    information: int = 0,
) -> tuple[int, int]:
    """Send an IRP to the stack of `device` and wait for it: (status, Information).

    `arguments` fill Parameters.Others.
    """
    top = iop_top_of(nt, device)
    irp = io_allocate_irp(nt, top._v.StackSize)
    assert irp, "no memory for an IRP of the PnP manager"
    block = nt.allocate_pool(_BLOCK, "PpIo")
    nt.mmu.write(block, bytes(_BLOCK))
    event = KEVENT.at(nt.mmu, block + _EVENT)
    KeInitializeEvent(nt, event, NOTIFICATION_EVENT, False)
    v = irp._v
    v.Flags = c.IRP_SYNCHRONOUS_API
    v.IoStatus_Status, v.IoStatus_Information = status, information
    v.UserIosb, v.UserEvent = block, int(event)
    stack = io_next_location(nt, irp)._v
    stack.MajorFunction, stack.MinorFunction = major, minor
    for name, value in zip(_ARGUMENTS, arguments, strict=False):
        setattr(stack, name, value)
    queue_to_thread(nt, irp)
    nt.ob.reference(int(top))
    result = IofCallDriver(nt, top, irp)
    if result == ntstatus.STATUS_PENDING:
        ki_wait(nt, [int(event)], WAIT_ANY, 0, 0, False, None)
        result = int.from_bytes(nt.mmu.read(block, 4), "little")
    made = nt.read_pointer(block + 8)
    nt.free_pool(block)
    nt.ob.dereference(int(top))
    return result, made
