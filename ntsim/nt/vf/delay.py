"""Kernel synchronization delay fuzzing: calls that synchronize take longer than they need.

Before some of them, chosen by the seed, the caller gives its turn away, so that whoever runs on
another processor gets into windows that are otherwise too short. Source: WDK "Kernel
synchronization delay fuzzing".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.hw.prng import Random
from ntsim.nt.vf.hooks import after, before

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier

ROUTINES = (
    "KeAcquireSpinLock KeAcquireSpinLockRaiseToDpc KeReleaseSpinLock KeAcquireSpinLockAtDpcLevel "
    "KeReleaseSpinLockFromDpcLevel KeAcquireInStackQueuedSpinLock KeReleaseInStackQueuedSpinLock "
    "KeSetEvent KeResetEvent KeClearEvent KeReleaseMutex KeReleaseSemaphore KeWaitForSingleObject "
    "KeWaitForMultipleObjects ExAcquireFastMutex ExReleaseFastMutex KeInsertQueueDpc KeSetTimer "
    "KeSetTimerEx KeCancelTimer IoQueueWorkItem IofCallDriver IofCompleteRequest IoCancelIrp "
    "IoSetCancelRoutine IoAcquireCancelSpinLock IoReleaseCancelSpinLock ObfReferenceObject "
    "ObfDereferenceObject ExAcquireResourceExclusiveLite ExAcquireResourceSharedLite "
    "ExReleaseResourceLite IoAcquireRemoveLockEx IoReleaseRemoveLockEx"
)
ONE_IN, LONGEST = 3, 400


class Fuzz:
    """The random numbers of one machine."""

    def __init__(self) -> None:
        self.random: Random | None = None


@before("delay-fuzzing", ROUTINES)
def wait_before(vf: Verifier, nt: Kernel, *arguments: Any) -> None:
    state: Fuzz = vf.part(Fuzz)
    if state.random is None:
        state.random = Random(vf.seed, "delay-fuzzing")
    if not state.random.below(ONE_IN):
        for _ in range(1 + state.random.below(LONGEST)):
            nt.il.step()


@after("delay-fuzzing", ROUTINES)
def wait_after(vf: Verifier, result: Any, nt: Kernel, *arguments: Any) -> None:
    wait_before(vf, nt)
