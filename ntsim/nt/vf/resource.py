"""Automatic checks of ERESOURCE. Source: WDK Bug Check 0xC4, 0x37, 0x38, 0x3D.

Normal kernel APCs must be disabled while a resource is owned, or one could suspend the owner; a
system thread cannot be suspended that way and is exempt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.nt.ke.irql import APC_LEVEL
from ntsim.nt.vf.hooks import AUTOMATIC, before
from ntsim.nt.vf.irql import vi_apc_count, vi_apcs_disabled

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier

ACQUIRE = (
    "ExAcquireResourceExclusiveLite ExAcquireResourceSharedLite ExAcquireSharedStarveExclusive "
    "ExAcquireSharedWaitForExclusive"
)
ALIGNMENT = 8


@before(AUTOMATIC, ACQUIRE + " ExReleaseResourceLite ExReleaseResourceForThreadLite")
def vi_resource(vf: Verifier, nt: Kernel, Resource: Any, *rest: Any) -> None:
    """APCs must be disabled; the resource must be aligned."""
    acquires = vf.routine.startswith("ExAcquire")
    if acquires and int(Resource) % ALIGNMENT:
        why = f"{vf.routine} was given {int(Resource):#x}: an ERESOURCE is aligned to 8 bytes."
        vf.violation(0x3D, 0, 0, int(Resource), why=why)
    if vf.irql >= APC_LEVEL or nt.thread.user is None or vi_apcs_disabled(nt):
        return
    why = f"{vf.routine} was called with normal kernel APCs enabled: KeEnterCriticalRegion first."
    vf.violation(0x37 if acquires else 0x38, vf.irql, vi_apc_count(nt), int(Resource), why=why)
