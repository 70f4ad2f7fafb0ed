"""Automatic checks: the IRQL of the calls that change it, wait, or belong to a level.

Source: WDK Bug Check 0xC4, parameter 1 = 0x30 to 0x3B, 0x80, 0x11A, 0x11B, 0x120 to 0x123.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi.irql import level_name
from ntsim.nt.ke.irql import APC_LEVEL, DISPATCH_LEVEL, HIGH_LEVEL
from ntsim.nt.ke.wait import THREAD_WAIT_NEXT
from ntsim.nt.vf.hooks import AUTOMATIC, before

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier

USER_MODE = 1


@before(AUTOMATIC, "KeRaiseIrql KfRaiseIrql")
def vi_raise_irql(vf: Verifier, nt: Kernel, NewIrql: int, *out: Any) -> None:
    """0x30: lower than the current level, or above HIGH_LEVEL."""
    level = vf.irql
    if NewIrql < level or NewIrql > HIGH_LEVEL:
        why = f"KeRaiseIrql({level_name(NewIrql)}) was called at {level_name(level)}: it can only "
        vf.violation(0x30, level, NewIrql, why=why + "raise, to HIGH_LEVEL at most.")


@before(AUTOMATIC, "KeRaiseIrqlToDpcLevel")
def vi_raise_irql_to_dpc_level(vf: Verifier, nt: Kernel) -> None:
    """0x30: it would lower the level."""
    level = vf.irql
    if level > DISPATCH_LEVEL:
        why = f"KeRaiseIrqlToDpcLevel was called at {level_name(level)}: it would lower the level."
        vf.violation(0x30, level, DISPATCH_LEVEL, why=why)


@before(AUTOMATIC, "KeLowerIrql")
def vi_lower_irql(vf: Verifier, nt: Kernel, NewIrql: int) -> None:
    """0x31: higher than the current level, or below DISPATCH_LEVEL inside a DPC."""
    level = vf.irql
    if NewIrql > level or NewIrql > HIGH_LEVEL:
        why = f"KeLowerIrql({level_name(NewIrql)}) was called at {level_name(level)}: it can only "
        vf.violation(0x31, level, NewIrql, 0, why=why + "lower.")
    if NewIrql < DISPATCH_LEVEL and nt.prcb[nt.il.current.number]._v.DpcRoutineActive:
        why = f"A DPC routine lowered the IRQL to {level_name(NewIrql)}: it must stay at "
        vf.violation(0x31, level, NewIrql, 1, why=why + "DISPATCH_LEVEL until it returns.")


@before(AUTOMATIC, "KeWaitForSingleObject")
def vi_wait_for_single_object(
    vf: Verifier, nt: Kernel, Object: int, Reason: int, Mode: int, Alertable: int, Timeout: Any
) -> None:
    """0x120 to 0x122 by level and timeout; 0x123: a user-mode wait for something on the stack."""
    vi_check_wait(vf, nt, int(Object), Timeout)
    vi_check_stack_object(vf, nt, int(Object), Mode)


@before(AUTOMATIC, "KeWaitForMultipleObjects")
def vi_wait_for_multiple_objects(
    vf: Verifier, nt: Kernel, Count: int, Object: int, Type: int, Reason: int, Mode: int,
    Alertable: int, Timeout: Any, Blocks: Any,
) -> None:  # fmt: skip
    vi_check_wait(vf, nt, int(Object), Timeout)
    for index in range(Count):
        vi_check_stack_object(vf, nt, nt.read_pointer(int(Object) + 8 * index), Mode)


def vi_check_wait(vf: Verifier, nt: Kernel, address: int, timeout: Any) -> None:
    level = vf.irql
    if level < DISPATCH_LEVEL or nt.thread.v.MiscFlags & THREAD_WAIT_NEXT:
        return
    where = f"{vf.routine} was called at {level_name(level)}"
    if level > DISPATCH_LEVEL:
        kind, rule = 0x120, "callers must run at DISPATCH_LEVEL or below"
    elif not timeout:
        kind, rule = 0x121, "a wait without timeout needs APC_LEVEL or below"
    elif timeout.QuadPart:
        kind, rule = 0x122, "only a timeout of zero is allowed there"
    else:
        return
    vf.violation(kind, vf.value(level), address, int(timeout), why=f"{where}: {rule}.")


def vi_check_stack_object(vf: Verifier, nt: Kernel, address: int, mode: int) -> None:
    thread = nt.thread
    if mode == USER_MODE and thread.stack_limit <= address < thread.stack_base:
        why = (
            f"{vf.routine} waits in UserMode for an object on the kernel stack: the stack may be "
            "swapped out during such a wait."
        )
        vf.violation(0x123, address, why=why)


@before(AUTOMATIC, "KeSetEvent")
def vi_set_event(vf: Verifier, nt: Kernel, Event: Any, *rest: Any) -> None:
    """0x80: above DISPATCH_LEVEL."""
    if vf.irql > DISPATCH_LEVEL:
        why = f"KeSetEvent was called at {level_name(vf.irql)}, above DISPATCH_LEVEL."
        vf.violation(0x80, vf.irql, int(Event), why=why)


@before(AUTOMATIC, "ExAcquireFastMutex")
def vi_acquire_fast_mutex(vf: Verifier, nt: Kernel, FastMutex: Any) -> None:
    """0x33: above APC_LEVEL."""
    if vf.irql > APC_LEVEL:
        why = f"ExAcquireFastMutex was called at {level_name(vf.irql)}: it may have to wait."
        vf.violation(0x33, vf.irql, int(FastMutex), why=why)


@before(AUTOMATIC, "ExReleaseFastMutex")
def vi_release_fast_mutex(vf: Verifier, nt: Kernel, FastMutex: Any) -> None:
    """0x34: not at APC_LEVEL, where ExAcquireFastMutex leaves its caller."""
    if vf.irql != APC_LEVEL:
        why = f"ExReleaseFastMutex was called at {level_name(vf.irql)}, not APC_LEVEL."
        vf.violation(0x34, vf.irql, vi_apc_count(nt), int(FastMutex), why=why)


@before(AUTOMATIC, "ExAcquireFastMutexUnsafe ExReleaseFastMutexUnsafe")
def vi_unsafe_fast_mutex(vf: Verifier, nt: Kernel, FastMutex: Any) -> None:
    """0x39, 0x3A: below APC_LEVEL outside a critical region, or above."""
    level = vf.irql
    if level == APC_LEVEL or (level == 0 and vi_apcs_disabled(nt)):
        return
    kind = 0x39 if vf.routine.startswith("ExAcquire") else 0x3A
    why = f"{vf.routine} was called at {level_name(level)} with APCs enabled."
    vf.violation(kind, level, vi_apc_count(nt), int(FastMutex), why=why)


def vi_apc_count(nt: Kernel) -> int:
    """KernelApcDisable as the unsigned parameter that dumps show."""
    return int(nt.thread.v.KernelApcDisable) & 0xFFFF


def vi_apcs_disabled(nt: Kernel) -> bool:
    v = nt.thread.v
    return bool(v.KernelApcDisable or v.SpecialApcDisable)
