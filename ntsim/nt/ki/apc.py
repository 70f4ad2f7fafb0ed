"""Asynchronous procedure calls: kernel (special and normal) and user.

Queued in the KTHREAD's ApcState lists; delivered when the thread runs below APC_LEVEL with them
enabled. Source: WDK "Types of APCs"; Windows Internals 7, part 2, chapter 8, "APC interrupts".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi.ke import KAPC, KTHREAD
from ntsim.abi.scalars import (
    BOOLEAN,
    KPRIORITY,
    KPROCESSOR_MODE,
    PKKERNEL_ROUTINE,
    PKNORMAL_ROUTINE,
    PKRUNDOWN_ROUTINE,
    PVOID,
    ULONG,
)
from ntsim.nt.events import ApcsDisabled, ApcsEnabled
from ntsim.nt.exports import export
from ntsim.nt.ke.irql import APC_LEVEL
from ntsim.nt.ke.thread import RUNNING, WAITING, Thread
from ntsim.nt.ke.unwait import ki_unwait
from ntsim.nt.ke.wait import THREAD_ALERTABLE
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.abi.ke import PKAPC, PKTHREAD
    from ntsim.nt.kernel import Kernel

APC_OBJECT = 0x12
APC_VECTOR = 0x1F
STATUS_USER_APC = 0xC0
STATUS_KERNEL_APC = 0x100
_ENTRY = KAPC.offset_of("ApcListEntry")
_LISTS = KTHREAD.offset_of("ApcState")


def ki_apc_head(thread: Thread, mode: int) -> int:
    """The list head of kernel (0) or user (1) APCs."""
    return thread.va + _LISTS + 16 * mode


def ki_insert_apc(nt: Kernel, apc: Any, argument1: int, argument2: int, boost: int = 0) -> bool:
    """Queue an initialized APC to its thread; False if it is queued or the thread has ended."""
    v = apc._v
    thread = nt.ke.threads.get(v.Thread)
    if v.Inserted or thread is None:
        return False
    v.SystemArgument1, v.SystemArgument2, v.Inserted = argument1, argument2, 1
    lists.insert_tail(nt.mmu, ki_apc_head(thread, v.ApcMode), int(apc) + _ENTRY)
    if v.ApcMode == 0:
        thread.v.ApcState_KernelApcPending = 1
        _notify_kernel(nt, thread, bool(v.NormalRoutine), boost)
    elif thread.v.State == WAITING and thread.v.WaitMode and thread.v.MiscFlags & THREAD_ALERTABLE:
        thread.v.ApcState_UserApcPendingAll |= 2
        ki_unwait(nt, thread, STATUS_USER_APC, boost)
    return True


def _notify_kernel(nt: Kernel, thread: Thread, normal: bool, boost: int) -> None:
    """Make the target look: an interrupt if it runs, an interrupted wait if the APC may run then.

    Source: ReactOS ntoskrnl/ke/apc.c, KiInsertQueueApc.
    """
    v = thread.v
    if v.State == RUNNING:
        nt.processors[v.NextProcessor].apic.request(APC_VECTOR)
        nt.il.take_interrupts()
        return
    held_off = normal and (v.KernelApcDisable or v.ApcState_InProgressFlags & 1)
    if v.State == WAITING and not (v.WaitIrql or v.SpecialApcDisable or held_off):
        ki_unwait(nt, thread, STATUS_KERNEL_APC, boost)


def ki_deliver_apcs(nt: Kernel, thread: Thread) -> None:
    """Run the kernel APCs that may run now: special ones first come, normal ones if enabled."""
    v = thread.v
    if not v.ApcState_KernelApcPending or v.SpecialApcDisable:
        return
    processor = nt.il.current
    if processor.cr8 >= APC_LEVEL:
        return
    v.ApcState_KernelApcPending = 0
    for entry in lists.entries(nt.mmu, ki_apc_head(thread, 0)):
        apc = KAPC.at(nt.mmu, entry - _ENTRY)
        if apc._v.NormalRoutine and (v.KernelApcDisable or v.ApcState_InProgressFlags & 1):
            v.ApcState_KernelApcPending = 1
            continue
        lists.remove(nt.mmu, entry)
        apc._v.Inserted = 0
        _run_kernel_apc(nt, thread, apc)


def _run_kernel_apc(nt: Kernel, thread: Thread, apc: Any) -> None:
    """KernelRoutine at APC_LEVEL, then NormalRoutine, if it is still set, at PASSIVE_LEVEL."""
    nt.il.current.cr8 = APC_LEVEL
    normal, context, one, two = ki_call_kernel_routine(nt, apc)
    nt.il.current.cr8 = 0
    if normal:
        thread.v.ApcState_InProgressFlags |= 1
        nt.call(normal, context, one, two)
        thread.v.ApcState_InProgressFlags &= ~1


def ki_call_kernel_routine(nt: Kernel, apc: Any) -> tuple[int, int, int, int]:
    """(routine, context, arguments) of an APC, as its kernel routine leaves them."""
    v = apc._v
    kernel = v.KernelRoutine
    left = (v.NormalRoutine, v.NormalContext, v.SystemArgument1, v.SystemArgument2)
    if not kernel:
        return left
    place = nt.allocate_pool(32, "Apcs")
    for i, value in enumerate(left):
        nt.write_pointer(place + 8 * i, value)
    nt.call(kernel, apc, place, place + 8, place + 16, place + 24)
    normal, context, one, two = (nt.read_pointer(place + 8 * i) for i in range(4))
    nt.free_pool(place)
    return normal, context, one, two


@export(irql="any")
def KeInitializeApc(
    nt: Kernel,
    Apc: PKAPC,
    Thread: PKTHREAD,
    Environment: ULONG,
    KernelRoutine: PKKERNEL_ROUTINE,
    RundownRoutine: PKRUNDOWN_ROUTINE,
    NormalRoutine: PKNORMAL_ROUTINE,
    ProcessorMode: KPROCESSOR_MODE,
    NormalContext: PVOID,
) -> None:
    """Prepare an APC; without NormalRoutine it is a special kernel APC.

    Source: ntifs.h, kmtests.
    """
    v = Apc._v
    v.Type, v.Size, v.Thread = APC_OBJECT, KAPC.size, int(Thread)
    v.KernelRoutine, v.RundownRoutine, v.NormalRoutine = (
        KernelRoutine,
        RundownRoutine,
        NormalRoutine,
    )
    v.ApcMode, v.NormalContext = (ProcessorMode, NormalContext) if NormalRoutine else (0, 0)
    v.ApcStateIndex, v.Inserted = Environment, 0


@export(irql="<= DISPATCH")
def KeInsertQueueApc(
    nt: Kernel, Apc: PKAPC, SystemArgument1: PVOID, SystemArgument2: PVOID, Increment: KPRIORITY
) -> BOOLEAN:
    """Queue the APC; FALSE if it is queued already or its thread has ended. Source: kmtests."""
    return ki_insert_apc(nt, Apc, int(SystemArgument1), int(SystemArgument2), Increment)


@export(irql="<= DISPATCH")
def KeRemoveQueueApc(nt: Kernel, Apc: PKAPC) -> BOOLEAN:
    """Take the APC out of its queue; TRUE if it was queued. Source: kmtests KeApc.c."""
    if not Apc._v.Inserted:
        return False
    lists.remove(nt.mmu, int(Apc) + _ENTRY)
    Apc._v.Inserted = 0
    return True


@export(irql="<= APC")
def KeEnterCriticalRegion(nt: Kernel) -> None:
    """Disable normal kernel APCs: KernelApcDisable counts down. Source: WDK; kmtests KeApc.c."""
    v = nt.thread.v
    v.KernelApcDisable -= 1
    nt.emit_at(ApcsDisabled, "kernel", v.KernelApcDisable, "KeEnterCriticalRegion")


@export(irql="<= APC")
def KeLeaveCriticalRegion(nt: Kernel) -> None:
    """Undo one KeEnterCriticalRegion. Source: WDK KeLeaveCriticalRegion."""
    ki_enable_apcs(nt, nt.thread, 1, "KeLeaveCriticalRegion")


@export(irql="<= APC")
def KeEnterGuardedRegion(nt: Kernel) -> None:
    """Disable all kernel APCs: SpecialApcDisable counts down. Source: WDK; kmtests KeApc.c."""
    v = nt.thread.v
    v.SpecialApcDisable -= 1
    nt.emit_at(ApcsDisabled, "special", v.SpecialApcDisable, "KeEnterGuardedRegion")


@export(irql="<= APC")
def KeLeaveGuardedRegion(nt: Kernel) -> None:
    """Undo one KeEnterGuardedRegion. Source: WDK KeLeaveGuardedRegion."""
    v = nt.thread.v
    v.SpecialApcDisable += 1
    nt.emit_at(ApcsEnabled, "special", v.SpecialApcDisable, "KeLeaveGuardedRegion")
    ki_deliver_apcs(nt, nt.thread)


def ki_enable_apcs(nt: Kernel, thread: Thread, count: int, routine: str) -> None:
    """KernelApcDisable goes up by `count`; pending APCs are delivered when it reaches 0."""
    thread.v.KernelApcDisable += count
    if count:
        nt.emit_at(ApcsEnabled, "kernel", thread.v.KernelApcDisable, routine)
    if thread is nt.thread:
        ki_deliver_apcs(nt, thread)


@export(irql="<= DISPATCH")
def KeAreApcsDisabled(nt: Kernel) -> BOOLEAN:
    """TRUE inside a critical or guarded region; the IRQL does not count. Source: WDK."""
    v = nt.thread.v
    return bool(v.KernelApcDisable or v.SpecialApcDisable)


@export(irql="<= DISPATCH")
def KeAreAllApcsDisabled(nt: Kernel) -> BOOLEAN:
    """TRUE inside a guarded region or at APC_LEVEL and above. Source: WDK; kmtests KeApc.c."""
    return bool(nt.thread.v.SpecialApcDisable or nt.il.current.cr8 >= APC_LEVEL)
