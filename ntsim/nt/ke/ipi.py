"""Calls on all processors at once by interprocessor interrupt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import PKIPI_BROADCAST_WORKER, ULONG_PTR
from ntsim.nt.exports import export
from ntsim.nt.ke.irql import IPI_LEVEL, SYNCH_LEVEL, set_irql

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

IPI_VECTOR = 0xE1


class Broadcast:
    """A KeIpiGenericCall in progress: who has arrived, who has finished."""

    def __init__(self, routine: int, argument: int, others: set[int]) -> None:
        self.routine, self.argument = routine, argument
        self.waiting = set(others)
        self.running = set(others)


@export(irql="<= IPI - 1")
def KeIpiGenericCall(
    nt: Kernel, BroadcastFunction: PKIPI_BROADCAST_WORKER, Context: ULONG_PTR
) -> ULONG_PTR:
    """Run BroadcastFunction at IPI_LEVEL on every processor simultaneously; this one's result.

    Every processor waits until all have arrived, then all call, then the caller waits for all.
    Source: WDK KeIpiGenericCall.
    """
    while nt.ke.broadcast is not None:
        nt.il.spin()
    here = nt.il.current
    old = set_irql(nt, max(SYNCH_LEVEL, here.cr8), "KeIpiGenericCall")
    call = Broadcast(BroadcastFunction, Context, {p.number for p in nt.processors if p is not here})
    nt.ke.broadcast = call
    for processor in nt.processors:
        if processor is not here:
            processor.apic.request(IPI_VECTOR)
    while call.waiting:
        nt.il.spin()
    here.cr8 = IPI_LEVEL
    result = nt.call(call.routine, call.argument)
    while call.running:
        nt.il.spin()
    nt.ke.broadcast = None
    here.cr8 = SYNCH_LEVEL
    set_irql(nt, old, "KeIpiGenericCall")
    return result


def ki_ipi_interrupt(nt: Kernel, number: int) -> None:
    """The IPI's handler on another processor, at IPI_LEVEL."""
    call = nt.ke.broadcast
    if call is None or number not in call.waiting:
        return
    call.waiting.discard(number)
    nt.il.progress += 1
    while call.waiting:
        nt.il.spin()
    nt.call_for_no_thread(call.routine, call.argument)
    call.running.discard(number)
    nt.il.progress += 1
