"""IRQL: the current processor's CR8.

On x64 these routines only move CR8. A free build checks nothing: raising to a lower level silently
lowers, and the damage shows later (at system-call exit, in a wait, in a watchdog). Source: WDK
"Managing Hardware Priorities"; ReactOS kmtests KeIrql.c for the free build's behaviour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import KIRQL
from ntsim.nt.events import IrqlLowered, IrqlRaised
from ntsim.nt.exports import Out, export

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

PASSIVE_LEVEL, APC_LEVEL, DISPATCH_LEVEL = 0, 1, 2
SYNCH_LEVEL, CLOCK_LEVEL, IPI_LEVEL, HIGH_LEVEL = 12, 13, 14, 15


def set_irql(nt: Kernel, level: int, routine: str) -> int:
    """Move `level` to CR8, take what became deliverable, and return the old level.

    Only the low four bits count: a KIRQL of 0xFF moved to CR8 would be a #GP, which is what the
    processor's own check in `mov_to_cr` is for.
    """
    processor = nt.il.current
    old = processor.cr8
    if level != old:
        kind = IrqlRaised if level > old else IrqlLowered
        nt.emit_at(kind, old, level, routine)
        if level & ~0xF:
            nt.ki.processor_operation(processor.mov_to_cr, 8, level)
        processor.cr8 = level
        if level < old and processor.apic.requested:
            nt.il.take_interrupts()
    return old


@export(irql="any", inline=True)
def KeGetCurrentIrql(nt: Kernel) -> KIRQL:
    """The current processor's IRQL: mov from CR8. Source: WDK KeGetCurrentIrql."""
    return nt.il.current.cr8


@export(irql="any", inline=True)
def KeRaiseIrql(nt: Kernel, NewIrql: KIRQL, OldIrql: Out[KIRQL]) -> None:
    """Raise to NewIrql; free builds lower silently if it is below. Source: WDK KeRaiseIrql."""
    OldIrql[0] = set_irql(nt, NewIrql, "KeRaiseIrql")


@export(irql="any")
def KfRaiseIrql(nt: Kernel, NewIrql: KIRQL) -> KIRQL:
    """What KeRaiseIrql expands to on x64: returns the old level. Source: wdm.h."""
    return set_irql(nt, NewIrql, "KfRaiseIrql")


@export(irql="any", aliases=("KfLowerIrql",))
def KeLowerIrql(nt: Kernel, NewIrql: KIRQL) -> None:
    """Lower to NewIrql; pending interrupts are taken. Source: WDK KeLowerIrql."""
    set_irql(nt, NewIrql, "KeLowerIrql")


@export(irql="any")
def KeRaiseIrqlToDpcLevel(nt: Kernel) -> KIRQL:
    """Raise to DISPATCH_LEVEL; returns the old level. Source: WDK KeRaiseIrqlToDpcLevel."""
    return set_irql(nt, DISPATCH_LEVEL, "KeRaiseIrqlToDpcLevel")


@export(irql="any")
def KeRaiseIrqlToSynchLevel(nt: Kernel) -> KIRQL:
    """Raise to SYNCH_LEVEL, 12 on x64; returns the old level. Source: ntifs.h; kmtests KeIrql.c."""
    return set_irql(nt, SYNCH_LEVEL, "KeRaiseIrqlToSynchLevel")
