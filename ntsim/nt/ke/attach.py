"""Attaching a thread to another process's address space.

The thread's APC state is put aside (in SavedApcState, or in the caller's KAPC_STATE when it is
attached already) and an empty one takes its place; ApcStateIndex is 1 while attached. At the exit
of a system call that is bug check 0x1, at the end of a thread 0x5. Source: WDK
KeStackAttachProcess, KeUnstackDetachProcess; bug checks 0x5, 0x6; ReactOS ntoskrnl/ke/procobj.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from ntsim.abi import bugcodes
from ntsim.abi.ke import KAPC_STATE, KTHREAD
from ntsim.nt.exports import export
from ntsim.nt.ki.apc import ki_deliver_apcs
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.abi.ke import PKAPC_STATE, PKPROCESS
    from ntsim.nt.kernel import Kernel

ORIGINAL, ATTACHED = 0, 1
"""KTHREAD.ApcStateIndex."""

NOTHING_DONE = 1
"""In KAPC_STATE.Process: the thread was in that process already."""

_CURRENT, _SAVED = KTHREAD.offset_of("ApcState"), KTHREAD.offset_of("SavedApcState")


def ki_move_apc_state(nt: Kernel, source: int, target: int) -> None:
    """Move APC lists, process and flags from one KAPC_STATE to another."""
    for mode in range(2):
        head = target + 16 * mode
        lists.initialize(nt.mmu, head)
        for entry in lists.entries(nt.mmu, source + 16 * mode):
            lists.remove(nt.mmu, entry)
            lists.insert_tail(nt.mmu, head, entry)
    behind = KAPC_STATE.offset_of("Process")
    nt.mmu.write(target + behind, nt.mmu.read(source + behind, KAPC_STATE.size - behind))


def ki_load_address_space(nt: Kernel) -> None:
    """The running processor uses the page tables of the thread's process, or the attached one."""
    nt.il.current.cr3 = nt.ke.address_space(nt.thread)


def ki_attach(nt: Kernel, process: int, save: int) -> None:
    """Put the APC state aside at `save` and go over to a process's address space."""
    thread = nt.thread
    here = thread.va + _CURRENT
    ki_move_apc_state(nt, here, save)
    for mode in range(2):
        lists.initialize(nt.mmu, here + 16 * mode)
    v = thread.v
    v.ApcState_Process, v.ApcState_InProgressFlags = process, 0
    v.ApcState_KernelApcPending = v.ApcState_UserApcPendingAll = 0
    v.ApcStateIndex = ATTACHED
    ki_load_address_space(nt)


def ki_detach(nt: Kernel, saved: int, index: int) -> None:
    """Take an APC state back; user APCs, or kernel ones that cannot run, must not be left: 0x6."""
    thread = nt.thread
    ki_deliver_apcs(nt, thread)
    here = thread.va + _CURRENT
    in_progress = thread.v.ApcState_InProgressFlags & 1
    if in_progress or any(not lists.is_empty(nt.mmu, here + 16 * mode) for mode in range(2)):
        nt.bugcheck(bugcodes.INVALID_PROCESS_DETACH_ATTEMPT)
    ki_move_apc_state(nt, saved, here)
    thread.v.ApcStateIndex = index
    if not lists.is_empty(nt.mmu, here):
        thread.v.ApcState_KernelApcPending = 1
    ki_load_address_space(nt)
    ki_deliver_apcs(nt, thread)


def ki_refuse_attach(nt: Kernel, process: int) -> NoReturn:
    """A DPC attaches, or a thread that is attached does so again without a place to put it: 0x5."""
    v = nt.thread.v
    active = nt.prcb[nt.il.current.number]._v.DpcRoutineActive
    code = bugcodes.INVALID_PROCESS_ATTACH_ATTEMPT
    nt.bugcheck(code, process, v.ApcState_Process, v.ApcStateIndex, active)


def ki_in_dpc(nt: Kernel) -> bool:
    return bool(nt.prcb[nt.il.current.number]._v.DpcRoutineActive)


def ki_check_process(nt: Kernel, process: int) -> None:
    """Its DirectoryTableBase is what CR3 would get: memory that is no process has none to give."""
    if process not in nt.ps.by_address:
        nt.mmu.read(process, 8)
        ki_refuse_attach(nt, process)


@export(irql="<= APC")
def KeStackAttachProcess(nt: Kernel, PROCESS: PKPROCESS, ApcState: PKAPC_STATE) -> None:
    """Run on in PROCESS's address space until KeUnstackDetachProcess; may nest. Source: WDK."""
    v = nt.thread.v
    if ki_in_dpc(nt):
        ki_refuse_attach(nt, int(PROCESS))
    if v.ApcState_Process == int(PROCESS):
        ApcState._v.Process = NOTHING_DONE
        return
    ki_check_process(nt, int(PROCESS))
    if v.ApcStateIndex:
        ki_attach(nt, int(PROCESS), int(ApcState))
    else:
        ki_attach(nt, int(PROCESS), nt.thread.va + _SAVED)
        ApcState._v.Process = 0


@export(irql="<= APC")
def KeUnstackDetachProcess(nt: Kernel, ApcState: PKAPC_STATE) -> None:
    """Undo the KeStackAttachProcess that filled ApcState; not attached is 0x6. Source: WDK."""
    before = ApcState._v.Process
    if before == NOTHING_DONE:
        return
    if nt.thread.v.ApcStateIndex == ORIGINAL:
        nt.bugcheck(bugcodes.INVALID_PROCESS_DETACH_ATTEMPT)
    if before:
        ki_detach(nt, int(ApcState), ATTACHED)
    else:
        ki_detach(nt, nt.thread.va + _SAVED, ORIGINAL)


@export(irql="<= APC")
def KeAttachProcess(nt: Kernel, Process: PKPROCESS) -> None:
    """Attach without nesting: a thread that is attached elsewhere stops with 0x5. Source: WDK."""
    v = nt.thread.v
    if v.ApcState_Process == int(Process) and not ki_in_dpc(nt):
        return
    if v.ApcStateIndex or ki_in_dpc(nt):
        ki_refuse_attach(nt, int(Process))
    ki_check_process(nt, int(Process))
    ki_attach(nt, int(Process), nt.thread.va + _SAVED)


@export(irql="<= APC")
def KeDetachProcess(nt: Kernel) -> None:
    """Undo KeAttachProcess; nothing if the thread is not attached. Source: ntifs.h."""
    if nt.thread.v.ApcStateIndex != ORIGINAL:
        ki_detach(nt, nt.thread.va + _SAVED, ORIGINAL)
