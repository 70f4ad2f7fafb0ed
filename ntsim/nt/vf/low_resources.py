"""Low-resources simulation: allocations of verified drivers fail although there is memory.

Randomized: with the probability that Windows has by default (6 %), by the machine's seed, and
without Windows' first minutes in which nothing fails. Systematic: each call stack that allocates
fails the first time it is seen and succeeds afterwards. Source: WDK "Low Resources Simulation",
"Systematic low resources simulation".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.io import IO_WORKITEM, IRP
from ntsim.abi.mm import MDL
from ntsim.hw.prng import Random
from ntsim.nt.events import FailureInjected
from ntsim.nt.rtl.exception import StructuredException
from ntsim.nt.vf.hooks import instead

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier

PROBABILITY, OF = 600, 10_000
RAISE_ON_FAILURE, QUOTA_FAILS, FLAG_RAISE = 0x10, 8, 0x20
MODES = ("low-resources", "systematic-low-resources")


class Simulation:
    """What decides: the random numbers of one machine, and the call stacks that failed."""

    def __init__(self) -> None:
        self.random: Random | None = None
        self.stacks: set[tuple[int, ...]] = set()
        self.failures = 0


def fails(vf: Verifier) -> bool:
    """Whether the allocation that is being asked for fails."""
    state: Simulation = vf.part(Simulation)
    denied = False
    if vf.on("systematic-low-resources"):
        stack = tuple(frame.address for frame in vf.moment().stack)
        denied = stack not in state.stacks
        state.stacks.add(stack)
    if not denied and vf.on("low-resources"):
        if state.random is None:
            state.random = Random(vf.seed, "low-resources")
        denied = state.random.below(OF) < PROBABILITY
    if denied:
        state.failures += 1
        vf.nt.emit_at(FailureInjected, vf.routine)
    return denied


def insufficient() -> StructuredException:
    status = ntstatus.STATUS_INSUFFICIENT_RESOURCES
    return StructuredException(status, reason="low resources simulation")


def no_pool(vf: Verifier, nt: Kernel, PoolType: int, *rest: Any) -> int | None:
    """NULL, or the exception that was asked for."""
    if not fails(vf):
        return None
    quota = vf.routine.startswith("ExAllocatePoolWithQuota")
    if PoolType & RAISE_ON_FAILURE or (quota and not PoolType & QUOTA_FAILS):
        raise insufficient()
    return 0


def no_pool_2(vf: Verifier, nt: Kernel, Flags: int, *rest: Any) -> int | None:
    if not fails(vf):
        return None
    if Flags & FLAG_RAISE:
        raise insufficient()
    return 0


def no_irp(vf: Verifier, nt: Kernel, *arguments: Any) -> Any:
    return IRP.at(nt.mmu, 0) if fails(vf) else None


def no_mdl(vf: Verifier, nt: Kernel, *arguments: Any) -> Any:
    return MDL.at(nt.mmu, 0) if fails(vf) else None


def no_work_item(vf: Verifier, nt: Kernel, *arguments: Any) -> Any:
    return IO_WORKITEM.at(nt.mmu, 0) if fails(vf) else None


def no_address(vf: Verifier, nt: Kernel, *arguments: Any) -> int | None:
    return 0 if fails(vf) else None


def no_lock(vf: Verifier, nt: Kernel, *arguments: Any) -> None:
    """MmProbeAndLockPages raises."""
    if fails(vf):
        raise insufficient()


ANSWERS = {
    no_pool: "ExAllocatePoolWithTag ExAllocatePool ExAllocatePoolZero ExAllocatePoolWithQuotaTag "
    "ExAllocatePoolWithQuota ExAllocatePoolWithTagPriority",
    no_pool_2: "ExAllocatePool2 ExAllocatePool3",
    no_irp: "IoAllocateIrp IoBuildDeviceIoControlRequest IoBuildAsynchronousFsdRequest "
    "IoBuildSynchronousFsdRequest IoMakeAssociatedIrp",
    no_mdl: "IoAllocateMdl MmAllocatePagesForMdl MmAllocatePagesForMdlEx",
    no_work_item: "IoAllocateWorkItem",
    no_address: "MmMapLockedPagesSpecifyCache MmGetSystemAddressForMdlSafe MmMapIoSpace "
    "MmAllocateContiguousMemory MmAllocateContiguousMemorySpecifyCache IoAllocateErrorLogEntry "
    "ExAllocateFromNPagedLookasideList ExAllocateFromPagedLookasideList "
    "ExAllocateFromLookasideListEx",
    no_lock: "MmProbeAndLockPages",
}
for _answer, _names in ANSWERS.items():
    for _mode in MODES:
        instead(_mode, _names)(_answer)
