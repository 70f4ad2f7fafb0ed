"""Automatic checks of critical regions. Source: WDK Bug Check 0xC4, 0x3E, 0x11A, 0x11B."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.irql import level_name
from ntsim.nt.ke.irql import APC_LEVEL
from ntsim.nt.vf.hooks import AUTOMATIC, before

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier


@before(AUTOMATIC, "KeEnterCriticalRegion KeLeaveCriticalRegion")
def vi_region_level(vf: Verifier, nt: Kernel) -> None:
    """0x11A, 0x11B: above APC_LEVEL."""
    if vf.irql > APC_LEVEL:
        kind = 0x11A if vf.routine == "KeEnterCriticalRegion" else 0x11B
        why = f"{vf.routine} was called at {level_name(vf.irql)}, above APC_LEVEL."
        vf.violation(kind, vf.irql, why=why)


@before(AUTOMATIC, "KeLeaveCriticalRegion")
def vi_leave_critical_region(vf: Verifier, nt: Kernel) -> None:
    """0x3E: the thread is in no critical region."""
    if nt.thread.v.KernelApcDisable >= 0:
        why = "KeLeaveCriticalRegion was called by a thread that is in no critical region."
        vf.violation(0x3E, why=why)
