"""The I/O manager's timer: each started device's routine, once a second, at DISPATCH_LEVEL.

Every device with a timer is in one list; TimerFlag says whether it is started. The system's one
timer ticks while any is. Source: WDK IoInitializeTimer, IoStartTimer, IoStopTimer; ReactOS
ntoskrnl/io/iomgr/iotimer.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.io import DEVICE_OBJECT, IO_TIMER
from ntsim.abi.ke import KDPC, KTIMER
from ntsim.abi.scalars import NTSTATUS, PIO_TIMER_ROUTINE, PVOID
from ntsim.nt.exports import export
from ntsim.nt.io.device import iop_is_being_deleted
from ntsim.nt.ke.dpc import KeInitializeDpc
from ntsim.nt.ke.timer import KeInitializeTimer, ke_set_timer
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT
    from ntsim.nt.kernel import Kernel

IO_TYPE_TIMER = 9
SECOND_MS, SECOND_100NS = 1000, 10_000_000
_ENTRY = IO_TIMER.offset_of("TimerList")
_DPC, _HEAD = KTIMER.size, KTIMER.size + KDPC.size
"""In the system's block, behind its KTIMER: the DPC, the head of the list of all IO_TIMERs."""


def iop_timer_block(nt: Kernel) -> int:
    """The system's timer, its DPC and nt!IopTimerQueueHead, made when first needed."""
    if not nt.io.timer_block:
        block = nt.io.timer_block = nt.allocate_pool(_HEAD + 16, "IoTm")
        KeInitializeTimer(nt, KTIMER.at(nt.mmu, block))
        routine = nt.internal_address(iop_timer_dispatch)
        KeInitializeDpc(nt, KDPC.at(nt.mmu, block + _DPC), routine, block)
        lists.initialize(nt.mmu, block + _HEAD)
    return nt.io.timer_block


def iop_timers(nt: Kernel) -> list[Any]:
    """Every IO_TIMER."""
    entries = lists.entries(nt.mmu, iop_timer_block(nt) + _HEAD)
    return [IO_TIMER.at(nt.mmu, entry - _ENTRY) for entry in entries]


def iop_timer_dispatch(nt: Kernel, Dpc: int, Context: int, One: int, Two: int) -> None:
    """A second is over."""
    for timer in iop_timers(nt):
        v = timer._v
        if v.TimerFlag:
            nt.call(v.TimerRoutine, DEVICE_OBJECT.at(nt.mmu, v.DeviceObject), v.Context)


def iop_tick_if_wanted(nt: Kernel) -> None:
    """The system's timer runs while a device's does."""
    block = iop_timer_block(nt)
    timer = KTIMER.at(nt.mmu, block)
    wanted = any(each._v.TimerFlag for each in iop_timers(nt))
    if wanted and block not in nt.ke.timers.live:
        ke_set_timer(nt, timer, -SECOND_100NS, SECOND_MS, block + _DPC)
    elif not wanted:
        nt.ke.timers.cancel(timer)


def iop_remove_timer(nt: Kernel, device: PDEVICE_OBJECT) -> None:
    """A device is deleted: so is its timer."""
    timer = device._v.Timer
    if timer:
        device._v.Timer = 0
        lists.remove(nt.mmu, timer + _ENTRY)
        nt.free_pool(timer)
        iop_tick_if_wanted(nt)


@export(irql="== PASSIVE")
def IoInitializeTimer(
    nt: Kernel, DeviceObject: PDEVICE_OBJECT, TimerRoutine: PIO_TIMER_ROUTINE, Context: PVOID
) -> NTSTATUS:
    """Give the device a timer, not started, or its timer another routine. Source: WDK."""
    head = iop_timer_block(nt) + _HEAD
    address: int = DeviceObject._v.Timer
    if not address:
        address = nt.allocate_pool(IO_TIMER.size, "IoTm")
        if not address:
            return ntstatus.STATUS_INSUFFICIENT_RESOURCES
        nt.mmu.write(address, bytes(IO_TIMER.size))
        v = IO_TIMER.at(nt.mmu, address)._v
        v.Type, v.DeviceObject = IO_TYPE_TIMER, int(DeviceObject)
        lists.insert_tail(nt.mmu, head, address + _ENTRY)
        DeviceObject._v.Timer = address
    v = IO_TIMER.at(nt.mmu, address)._v
    v.TimerRoutine, v.Context = TimerRoutine, Context
    return ntstatus.STATUS_SUCCESS


@export(irql="<= DISPATCH")
def IoStartTimer(nt: Kernel, DeviceObject: PDEVICE_OBJECT) -> None:
    """Call the device's routine once a second, unless it is being deleted. Source: WDK."""
    if iop_is_being_deleted(nt, DeviceObject):
        return
    IO_TIMER.at(nt.mmu, DeviceObject._v.Timer)._v.TimerFlag = 1
    iop_tick_if_wanted(nt)


@export(irql="<= DISPATCH")
def IoStopTimer(nt: Kernel, DeviceObject: PDEVICE_OBJECT) -> None:
    """Call it no more. Not from the routine itself, which Windows' lock forbids. Source: WDK."""
    IO_TIMER.at(nt.mmu, DeviceObject._v.Timer)._v.TimerFlag = 0
    iop_tick_if_wanted(nt)
