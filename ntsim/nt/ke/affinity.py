"""Processor numbers and thread affinity.

Setting the affinity of the running thread to processors other than the current one moves it before
the call returns, unless the IRQL holds the dispatcher off. Source: WDK
KeSetSystemAffinityThread(Ex).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import KAFFINITY, KPRIORITY, NTSTATUS, ULONG, USHORT
from ntsim.nt.events import AffinityChanged
from ntsim.nt.exports import OutOpt, export
from ntsim.nt.ke.irql import DISPATCH_LEVEL
from ntsim.nt.ke.scheduler import DISPATCH_VECTOR, ki_move_away, ki_set_priority
from ntsim.nt.ke.thread import SYSTEM_AFFINITY_ACTIVE

if TYPE_CHECKING:
    from ntsim.abi.ke import PKTHREAD
    from ntsim.abi.rtl import PGROUP_AFFINITY, PPROCESSOR_NUMBER
    from ntsim.nt.kernel import Kernel

INVALID_AFFINITY_SET = 0x3
ALL_PROCESSOR_GROUPS = 0xFFFF


def ki_set_affinity(nt: Kernel, mask: int) -> int:
    """Restrict the current thread; its old mask. Empty against the active processors: 0x3."""
    thread = nt.thread
    allowed = mask & nt.ke.active_mask
    if not allowed:
        nt.bugcheck(INVALID_AFFINITY_SET)
    old: int = thread.v.Affinity_Mask
    thread.v.Affinity_Mask = allowed
    nt.emit_at(AffinityChanged, allowed)
    if not allowed >> nt.il.current.number & 1:
        _leave_processor(nt)
    return old


def _leave_processor(nt: Kernel) -> None:
    """Move to an allowed processor, at once below DISPATCH_LEVEL.

    That needs no interrupt: a driver that has turned them off (a hypervisor that left VMX operation
    with the RFLAGS of a VM exit) is moved as well, and finds them on where it goes on.
    """
    processor = nt.il.current
    processor.apic.request(DISPATCH_VECTOR)
    if processor.interrupts_enabled:
        nt.il.take_interrupts()
    elif processor.cr8 < DISPATCH_LEVEL:
        irql, processor.cr8 = processor.cr8, DISPATCH_LEVEL
        ki_move_away(nt, nt.thread)
        nt.il.current.cr8 = irql
        nt.il.take_interrupts()


@export(irql="<= DISPATCH")
def KeSetSystemAffinityThread(nt: Kernel, Affinity: KAFFINITY) -> None:
    """Run the current thread only on the processors of the mask. Source: WDK."""
    ki_set_affinity(nt, Affinity)
    nt.thread.v.MiscFlags |= SYSTEM_AFFINITY_ACTIVE


@export(irql="<= DISPATCH")
def KeSetSystemAffinityThreadEx(nt: Kernel, Affinity: KAFFINITY) -> KAFFINITY:
    """As KeSetSystemAffinityThread; returns the system affinity before, 0 if there was none.

    A mask without active processors changes nothing and returns 0. Source: WDK
    KeSetSystemAffinityThreadEx; Wine ntoskrnl tests test_affinity.
    """
    if not Affinity & nt.ke.active_mask:
        return 0
    active = nt.thread.v.MiscFlags & SYSTEM_AFFINITY_ACTIVE
    old = ki_set_affinity(nt, Affinity)
    nt.thread.v.MiscFlags |= SYSTEM_AFFINITY_ACTIVE
    return old if active else 0


@export(irql="<= DISPATCH")
def KeRevertToUserAffinityThread(nt: Kernel) -> None:
    """Back to the affinity before the first KeSetSystemAffinityThread. Source: WDK."""
    thread = nt.thread
    thread.v.MiscFlags &= ~SYSTEM_AFFINITY_ACTIVE
    ki_set_affinity(nt, thread.v.UserAffinity_Mask)


@export(irql="<= DISPATCH")
def KeRevertToUserAffinityThreadEx(nt: Kernel, Affinity: KAFFINITY) -> None:
    """Back to the system affinity Affinity, or, if it is 0, to the thread's own affinity.

    Source: WDK; Wine ntoskrnl tests test_affinity, where one that was never set is set by this.
    """
    if Affinity:
        KeSetSystemAffinityThread(nt, Affinity)
    else:
        KeRevertToUserAffinityThread(nt)


@export(irql="<= APC")
def KeSetSystemGroupAffinityThread(
    nt: Kernel, Affinity: PGROUP_AFFINITY, PreviousAffinity: PGROUP_AFFINITY
) -> None:
    """Group form; there is one group, 0. Source: WDK KeSetSystemGroupAffinityThread."""
    old = KeSetSystemAffinityThreadEx(nt, Affinity.Mask if Affinity.Group == 0 else 0)
    if PreviousAffinity:
        PreviousAffinity.Mask, PreviousAffinity.Group = old, 0


@export(irql="<= APC")
def KeRevertToUserGroupAffinityThread(nt: Kernel, PreviousAffinity: PGROUP_AFFINITY) -> None:
    """Undo KeSetSystemGroupAffinityThread. Source: WDK."""
    KeRevertToUserAffinityThreadEx(nt, PreviousAffinity.Mask)


@export(irql="any")
def KeQueryActiveProcessors(nt: Kernel) -> KAFFINITY:
    """One bit for each active processor. Source: WDK KeQueryActiveProcessors."""
    return nt.ke.active_mask


@export(irql="any")
def KeQueryActiveProcessorCount(nt: Kernel, ActiveProcessors: OutOpt[KAFFINITY]) -> ULONG:
    """How many processors are active, and their mask. Source: WDK KeQueryActiveProcessorCount."""
    if ActiveProcessors:
        ActiveProcessors[0] = nt.ke.active_mask
    return len(nt.processors)


@export(irql="any")
def KeQueryActiveProcessorCountEx(nt: Kernel, GroupNumber: USHORT) -> ULONG:
    """Active processors of a group (0 or ALL_PROCESSOR_GROUPS here). Source: WDK."""
    return len(nt.processors) if GroupNumber in (0, ALL_PROCESSOR_GROUPS) else 0


@export(irql="any")
def KeQueryMaximumProcessorCount(nt: Kernel) -> ULONG:
    """Source: WDK KeQueryMaximumProcessorCount."""
    return len(nt.processors)


@export(irql="any")
def KeQueryMaximumProcessorCountEx(nt: Kernel, GroupNumber: USHORT) -> ULONG:
    """Source: WDK KeQueryMaximumProcessorCountEx."""
    return KeQueryActiveProcessorCountEx(nt, GroupNumber)


@export(irql="any")
def KeQueryActiveGroupCount(nt: Kernel) -> USHORT:
    """One group. Source: WDK KeQueryActiveGroupCount."""
    return 1


@export(irql="any")
def KeQueryMaximumGroupCount(nt: Kernel) -> USHORT:
    """One group. Source: WDK KeQueryMaximumGroupCount."""
    return 1


@export(irql="any", inline=True)
def KeGetCurrentProcessorNumber(nt: Kernel) -> ULONG:
    """gs:[184h] on x64. Source: WDK KeGetCurrentProcessorNumber."""
    return nt.il.current.number


@export(irql="any")
def KeGetCurrentProcessorNumberEx(nt: Kernel, ProcNumber: PPROCESSOR_NUMBER) -> ULONG:
    """The system-wide number, and group and number in it. Source: WDK."""
    number = nt.il.current.number
    if ProcNumber:
        ProcNumber.Group, ProcNumber.Number, ProcNumber.Reserved = 0, number, 0
    return number


@export(irql="any")
def KeGetProcessorNumberFromIndex(
    nt: Kernel, ProcIndex: ULONG, ProcNumber: PPROCESSOR_NUMBER
) -> NTSTATUS:
    """Source: WDK KeGetProcessorNumberFromIndex."""
    if ProcIndex >= len(nt.processors):
        return 0xC000_000D
    ProcNumber.Group, ProcNumber.Number, ProcNumber.Reserved = 0, ProcIndex, 0
    return 0


@export(irql="any")
def KeGetProcessorIndexFromNumber(nt: Kernel, ProcNumber: PPROCESSOR_NUMBER) -> ULONG:
    """Source: WDK KeGetProcessorIndexFromNumber."""
    number: int = ProcNumber.Number
    return number if not ProcNumber.Group and number < len(nt.processors) else 0xFFFF_FFFF


@export(irql="<= DISPATCH")
def KeSetPriorityThread(nt: Kernel, Thread: PKTHREAD, Priority: KPRIORITY) -> KPRIORITY:
    """Set the run-time priority (1 to 31); returns the old one. Source: WDK."""
    v = Thread._v
    old: int = v.Priority
    v.BasePriority = Priority
    thread = nt.ke.threads.get(int(Thread))
    if thread is None:
        v.Priority = Priority
    else:
        ki_set_priority(nt, thread, Priority)
    return old


@export(irql="<= DISPATCH")
def KeQueryPriorityThread(nt: Kernel, Thread: PKTHREAD) -> KPRIORITY:
    """Source: WDK KeQueryPriorityThread."""
    priority: int = Thread._v.Priority
    return priority


@export(irql="any")
def KeGetCurrentThread(nt: Kernel) -> PKTHREAD:
    """gs:[188h]: the running thread. Source: WDK KeGetCurrentThread."""
    return nt.thread.k  # type: ignore[no-any-return]
