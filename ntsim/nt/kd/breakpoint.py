"""Breakpoints in drivers: an exception where there is no debugger to take it.

Source: WDK DbgBreakPoint, KdRefreshDebuggerNotPresent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import BOOLEAN, ULONG
from ntsim.nt.exports import export
from ntsim.nt.ki.fault import ki_raise

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


@export(irql="any")
def DbgBreakPoint(nt: Kernel) -> None:
    """INT 3: STATUS_BREAKPOINT, which nobody handles unless the driver does. Source: WDK."""
    ki_raise(nt, ntstatus.STATUS_BREAKPOINT, (0,), "DbgBreakPoint without a debugger")


@export(irql="any", aliases=("KdBreakPointWithStatus",))
def DbgBreakPointWithStatus(nt: Kernel, Status: ULONG) -> None:
    """As DbgBreakPoint, with a number for the debugger. Source: WDK DbgBreakPointWithStatus."""
    DbgBreakPoint(nt)


@export(irql="any", inline=True)
def KdBreakPoint(nt: Kernel) -> None:
    """DbgBreakPoint in a build with DBG defined, which drivers here are. Source: WDK."""
    DbgBreakPoint(nt)


@export(irql="any")
def KdRefreshDebuggerNotPresent(nt: Kernel) -> BOOLEAN:
    """TRUE: no kernel debugger is attached. Source: WDK KdRefreshDebuggerNotPresent."""
    return True
