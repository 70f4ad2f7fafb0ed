"""Timers by handle: ZwCreateTimer, ZwOpenTimer, ZwSetTimer, ZwCancelTimer.

The object is a KTIMER with a DPC and an APC behind it: a TimerApcRoutine runs in the thread that
set the timer, as a normal kernel APC, and a new setting takes back what an old one has queued.
Source: WDK ZwCreateTimer, ZwSetTimer, ZwCancelTimer, TimerAPCProc (ntifs.h).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import winnt_constants as w
from ntsim.abi.ke import KAPC, KDPC, KTIMER
from ntsim.abi.scalars import ACCESS_MASK, BOOLEAN, HANDLE, LONG, NTSTATUS, PVOID, TIMER_TYPE
from ntsim.nt.ex.arguments import in_kernel_mode
from ntsim.nt.ex.events import driver_attributes
from ntsim.nt.ex.named import exp_create, exp_drop_name, exp_open, exp_reference
from ntsim.nt.exports import Out, OutOpt, export
from ntsim.nt.ke.dpc import KeInitializeDpc, KeRemoveQueueDpc
from ntsim.nt.ke.timer import KeInitializeTimerEx, ke_set_timer
from ntsim.nt.ki.apc import KeInitializeApc, KeRemoveQueueApc, ki_insert_apc
from ntsim.nt.ob.objects import ObjectType

if TYPE_CHECKING:
    from ntsim.abi.rtl import PLARGE_INTEGER, POBJECT_ATTRIBUTES
    from ntsim.nt.kernel import Kernel

GENERIC = (0x2_0001, 0x2_0002, 0x12_0000, w.TIMER_ALL_ACCESS)
DPC, APC = KTIMER.size, KTIMER.size + KDPC.size
BODY_SIZE = APC + KAPC.size


def exp_timer_type(nt: Kernel) -> ObjectType:
    """The object type Timer, registered when it is first needed."""
    found = nt.ob.types.get("Timer")
    if found is None:
        found = ObjectType("Timer", GENERIC, w.TIMER_ALL_ACCESS, exp_drop_name, exp_delete_timer, 0)
        nt.ob.add_type(found)
    return found


def exp_stop_timer(nt: Kernel, body: int) -> bool:
    """Take back the timer, its DPC and its APC; whether the timer was set."""
    was_set: bool = nt.ke.timers.cancel(KTIMER.at(nt.mmu, body))
    KeRemoveQueueDpc(nt, KDPC.at(nt.mmu, body + DPC))
    KeRemoveQueueApc(nt, KAPC.at(nt.mmu, body + APC))
    return was_set


def exp_delete_timer(nt: Kernel, body: int) -> None:
    exp_stop_timer(nt, body)


def exp_timer_dpc(nt: Kernel, Dpc: int, Context: int, One: int, Two: int) -> None:
    """The timer has expired: queue the routine to the thread that set it."""
    now = nt.ke.system_time
    apc = KAPC.at(nt.mmu, Context + APC)
    ki_insert_apc(nt, apc, now & 0xFFFF_FFFF, now >> 32)


def exp_timer_apc(nt: Kernel, apc: Any, *arguments: int) -> int:
    """Kernel routine of the APC: the object stays, nothing is to be freed."""
    return 0


@export(irql="== PASSIVE")
def ZwCreateTimer(
    nt: Kernel,
    TimerHandle: Out[HANDLE],
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: POBJECT_ATTRIBUTES,
    TimerType: TIMER_TYPE,
) -> NTSTATUS:
    """A timer that is not set, named or not. Source: WDK ZwCreateTimer."""
    if TimerType not in (0, 1):
        return ntstatus.STATUS_INVALID_PARAMETER_4

    def initialize(body: int) -> None:
        nt.mmu.write(body, bytes(BODY_SIZE))
        KeInitializeTimerEx(nt, KTIMER.at(nt.mmu, body), TimerType)
        routine = nt.internal_address(exp_timer_dpc)
        KeInitializeDpc(nt, KDPC.at(nt.mmu, body + DPC), routine, body)

    attributes, kind = driver_attributes(nt, ObjectAttributes), exp_timer_type(nt)
    made = exp_create(nt, kind, BODY_SIZE, attributes, DesiredAccess, initialize)
    status, TimerHandle[0] = made
    return status


@export(irql="== PASSIVE")
def ZwOpenTimer(
    nt: Kernel,
    TimerHandle: Out[HANDLE],
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: POBJECT_ATTRIBUTES,
) -> NTSTATUS:
    """A handle to a named timer. Source: WDK ZwOpenTimer."""
    attributes = driver_attributes(nt, ObjectAttributes)
    status, TimerHandle[0] = exp_open(nt, exp_timer_type(nt), attributes, DesiredAccess)
    return status


def exp_timer(nt: Kernel, handle: int) -> tuple[int, int]:
    """(status, body) of a handle, referenced."""
    exp_timer_type(nt)
    return in_kernel_mode(nt, exp_reference, handle, w.TIMER_MODIFY_STATE, "Timer")


@export(irql="== PASSIVE")
def ZwSetTimer(
    nt: Kernel,
    TimerHandle: HANDLE,
    DueTime: PLARGE_INTEGER,
    TimerApcRoutine: PVOID,
    TimerContext: PVOID,
    ResumeTimer: BOOLEAN,
    Period: LONG,
    PreviousState: OutOpt[BOOLEAN],
) -> NTSTATUS:
    """Set a timer, with an optional routine for this thread; Period in milliseconds.

    *PreviousState: whether it was signalled. ResumeTimer would wake the system: with TRUE
    STATUS_TIMER_RESUME_IGNORED. Source: WDK ZwSetTimer.
    """
    if Period < 0:
        return ntstatus.STATUS_INVALID_PARAMETER_6
    status, body = exp_timer(nt, TimerHandle)
    if status:
        return status
    due = DueTime.QuadPart
    timer = KTIMER.at(nt.mmu, body)
    if PreviousState:
        PreviousState[0] = bool(timer._v.Header_SignalState)
    exp_stop_timer(nt, body)
    if TimerApcRoutine:
        kernel = nt.internal_address(exp_timer_apc)
        apc = KAPC.at(nt.mmu, body + APC)
        KeInitializeApc(nt, apc, nt.thread.k, 0, kernel, 0, TimerApcRoutine, 0, TimerContext)
    ke_set_timer(nt, timer, due, Period, body + DPC if TimerApcRoutine else 0)
    nt.ob.dereference(body)
    return ntstatus.STATUS_TIMER_RESUME_IGNORED if ResumeTimer else ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def ZwCancelTimer(nt: Kernel, TimerHandle: HANDLE, CurrentState: OutOpt[BOOLEAN]) -> NTSTATUS:
    """Cancel; *CurrentState: whether the timer is signalled. Source: WDK ZwCancelTimer."""
    status, body = exp_timer(nt, TimerHandle)
    if status:
        return status
    exp_stop_timer(nt, body)
    if CurrentState:
        CurrentState[0] = bool(KTIMER.at(nt.mmu, body)._v.Header_SignalState)
    nt.ob.dereference(body)
    return ntstatus.STATUS_SUCCESS
