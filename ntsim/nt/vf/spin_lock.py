"""Automatic checks of executive spin locks. Source: WDK Bug Check 0xC4, 0x32 and 0x40 to 0x42."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi.irql import level_name
from ntsim.nt.ke.irql import DISPATCH_LEVEL
from ntsim.nt.vf.hooks import AUTOMATIC, before

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier


def vi_bad_level(vf: Verifier, kind: int, lock: Any, rule: str) -> None:
    why = f"{vf.routine} was called at {level_name(vf.irql)}: {rule}."
    vf.violation(kind, vf.irql, int(lock), why=why)


@before(AUTOMATIC, "KeAcquireSpinLock KeAcquireSpinLockRaiseToDpc")
def vi_acquire_spin_lock(vf: Verifier, nt: Kernel, SpinLock: Any, *out: Any) -> None:
    if vf.irql > DISPATCH_LEVEL:
        vi_bad_level(vf, 0x42, SpinLock, "it would lower the level to DISPATCH_LEVEL")


@before(AUTOMATIC, "KeReleaseSpinLock")
def vi_release_spin_lock(vf: Verifier, nt: Kernel, SpinLock: Any, NewIrql: int) -> None:
    if vf.irql != DISPATCH_LEVEL:
        vi_bad_level(vf, 0x32, SpinLock, "a spin lock is released at DISPATCH_LEVEL")


@before(AUTOMATIC, "KeAcquireSpinLockAtDpcLevel")
def vi_acquire_at_dpc_level(vf: Verifier, nt: Kernel, SpinLock: Any) -> None:
    if vf.irql < DISPATCH_LEVEL:
        vi_bad_level(vf, 0x40, SpinLock, "it does not raise the level, KeAcquireSpinLock does")


@before(AUTOMATIC, "KeReleaseSpinLockFromDpcLevel")
def vi_release_from_dpc_level(vf: Verifier, nt: Kernel, SpinLock: Any) -> None:
    if vf.irql < DISPATCH_LEVEL:
        vi_bad_level(vf, 0x41, SpinLock, "the lock was held below DISPATCH_LEVEL")
