"""Idle detection: a device nobody has used for so many seconds is powered down.

The power manager counts every second in a ULONG that the driver sets back with PoSetDeviceBusy, and
sends IRP_MN_SET_POWER when the time is up. The conservation time counts on battery, the performance
time on mains. Source: WDK PoRegisterDeviceForIdleDetection, PoSetDeviceBusyEx.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntsim.abi import wdm_constants as c
from ntsim.abi.ke import KDPC, KTIMER
from ntsim.abi.scalars import PVOID, ULONG
from ntsim.nt.exports import export
from ntsim.nt.ke.dpc import KeInitializeDpc
from ntsim.nt.ke.timer import KeInitializeTimer, ke_set_timer
from ntsim.nt.po.request import pop_request
from ntsim.nt.po.state import po

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT
    from ntsim.abi.scalars import DEVICE_POWER_STATE
    from ntsim.nt.kernel import Kernel

SECOND_100NS, SECOND_MS = 10_000_000, 1000
NEVER = 0xFFFF_FFFF
"""A time of -1: the policy's own, which is never here."""


@dataclass(eq=False, slots=True)
class IdleDevice:
    """`counter` is the address of the seconds counted, `limit` when to act, in seconds."""

    device: Any
    counter: int
    limit: int
    state: int
    busy: int = 0


def pop_idle_timer(nt: Kernel) -> int:
    """The system's idle timer and its DPC, made when first needed."""
    manager = po(nt)
    if not manager.idle_timer:
        block = manager.idle_timer = nt.allocate_pool(KTIMER.size + KDPC.size, "PoId")
        KeInitializeTimer(nt, KTIMER.at(nt.mmu, block))
        dpc = KDPC.at(nt.mmu, block + KTIMER.size)
        KeInitializeDpc(nt, dpc, nt.internal_address(pop_scan_idle), 0)
    return manager.idle_timer


def pop_scan_idle(nt: Kernel, Dpc: int, Context: int, One: int, Two: int) -> None:
    """A second is over."""
    for idle in list(po(nt).idle.values()):
        seconds = int.from_bytes(nt.mmu.read(idle.counter, 4), "little")
        seconds = 0 if idle.busy else seconds + 1
        nt.mmu.write(idle.counter, (seconds & 0xFFFF_FFFF).to_bytes(4, "little"))
        if seconds == idle.limit:
            minor, kind = c.IRP_MN_SET_POWER, c.DevicePowerState
            pop_request(nt, idle.device, minor, kind, idle.state)


@export(irql="<= APC")
def PoRegisterDeviceForIdleDetection(
    nt: Kernel,
    DeviceObject: PDEVICE_OBJECT,
    ConservationIdleTime: ULONG,
    PerformanceIdleTime: ULONG,
    State: DEVICE_POWER_STATE,
) -> PVOID:
    """Watch a device; the counter that the driver keeps at zero while it is busy.

    Times of 0 end the watching and give NULL. Source: WDK PoRegisterDeviceForIdleDetection.
    """
    found = po(nt).idle
    old = found.pop(int(DeviceObject), None)
    if old is not None:
        nt.free_pool(old.counter)
    timer = pop_idle_timer(nt)
    if not ConservationIdleTime and not PerformanceIdleTime:
        if not found:
            nt.ke.timers.cancel(KTIMER.at(nt.mmu, timer))
        return 0
    counter = nt.allocate_pool(0x10, "PoIc")
    nt.mmu.write(counter, bytes(0x10))
    limit = PerformanceIdleTime or NEVER
    found[int(DeviceObject)] = IdleDevice(DeviceObject, counter, limit, State)
    if timer not in nt.ke.timers.live:
        dpc = timer + KTIMER.size
        ke_set_timer(nt, KTIMER.at(nt.mmu, timer), -SECOND_100NS, SECOND_MS, dpc)
    return counter


@export(irql="any", inline=True)
def PoSetDeviceBusy(nt: Kernel, IdlePointer: PVOID) -> None:
    """The device was used: count from zero again. Source: WDK PoSetDeviceBusy."""
    PoSetDeviceBusyEx(nt, IdlePointer)


@export(irql="any")
def PoSetDeviceBusyEx(nt: Kernel, IdlePointer: PVOID) -> None:
    """As PoSetDeviceBusy. Source: WDK PoSetDeviceBusyEx."""
    nt.mmu.write(int(IdlePointer), bytes(4))


def _count_busy(nt: Kernel, counter: int, step: int) -> None:
    for idle in po(nt).idle.values():
        if idle.counter == counter:
            idle.busy += step


@export(irql="any")
def PoStartDeviceBusy(nt: Kernel, IdlePointer: PVOID) -> None:
    """The device is busy until PoEndDeviceBusy. Source: WDK PoStartDeviceBusy."""
    _count_busy(nt, IdlePointer, 1)


@export(irql="any")
def PoEndDeviceBusy(nt: Kernel, IdlePointer: PVOID) -> None:
    """The end of PoStartDeviceBusy. Source: WDK PoEndDeviceBusy."""
    _count_busy(nt, IdlePointer, -1)
    PoSetDeviceBusyEx(nt, IdlePointer)
