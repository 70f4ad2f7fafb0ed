"""Automatic checks of push locks. Source: WDK Bug Check 0xC4, 0xEA and 0xEB.

Normal kernel APCs must be disabled while a push lock is held, or one could suspend the owner; a
system thread cannot be suspended that way and is exempt, as with ERESOURCE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.nt.ke.irql import APC_LEVEL
from ntsim.nt.vf.hooks import AUTOMATIC, before
from ntsim.nt.vf.irql import vi_apc_count, vi_apcs_disabled

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier

_KINDS = ("Exclusive", "ExclusiveEx", "Shared", "SharedEx")
ACQUIRE = " ".join(f"ExAcquirePushLock{kind}" for kind in _KINDS)
RELEASE = " ".join(f"ExReleasePushLock{kind}" for kind in _KINDS)


@before(AUTOMATIC, f"{ACQUIRE} {RELEASE}")
def vi_push_lock(vf: Verifier, nt: Kernel, PushLock: Any, *flags: int) -> None:
    """APCs must be disabled."""
    if vf.irql >= APC_LEVEL or nt.thread.user is None or vi_apcs_disabled(nt):
        return
    kind = 0xEA if vf.routine.startswith("ExAcquire") else 0xEB
    why = f"{vf.routine} was called with normal kernel APCs enabled: KeEnterCriticalRegion first."
    vf.violation(kind, vf.irql, vi_apc_count(nt), int(PushLock), why=why)
