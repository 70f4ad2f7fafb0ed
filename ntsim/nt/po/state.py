"""The power manager's state, and PoSetPowerState.

Source: WDK PoSetPowerState, "Managing Device Power"; Wine's ntoskrnl driver_pnp.c for the old state
that is returned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ntsim.abi import wdm_constants as c
from ntsim.abi.io import DEVOBJ_EXTENSION
from ntsim.abi.scalars import POWER_STATE_TYPE
from ntsim.abi.structure import Structure
from ntsim.nt.events import DevicePowerChanged
from ntsim.nt.exports import export
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT
    from ntsim.nt.kernel import Kernel

SYSTEM_STATE, DEVICE_STATE = 0x0F, 0xF0
"""DEVOBJ_EXTENSION.PowerFlags: the system state, the device state shifted by four."""


class PowerStateValue(int):
    """A POWER_STATE passed or returned by value: an int that has the union's members."""

    @property
    def DeviceState(self) -> int:
        return int(self)

    @property
    def SystemState(self) -> int:
        return int(self)


def power_state(value: Any) -> int:
    """The number in a POWER_STATE argument: a Python int, or a variable of that type."""
    if isinstance(value, Structure):
        return int(value.DeviceState) & 0xFFFF_FFFF
    if isinstance(value, int):
        return int(value) & 0xFFFF_FFFF
    raise TypeError(f"{value!r} is no POWER_STATE: pass a POWER_STATE variable or a state's number")


class Po:
    """`irps` is the head of the list of POP_IRP_DATA, `waiting` the D-IRPs behind another, by PDO.

    `finished` are routines of the kernel itself that wait for an IRP, by POP_IRP_DATA.
    """

    def __init__(self, nt: Kernel) -> None:
        self.irps = nt.allocate_pool(0x10, "PoIr")
        lists.initialize(nt.mmu, self.irps)
        self.waiting: dict[int, list[int]] = {}
        self.finished: dict[int, Callable[[int], None]] = {}
        self.handed_over: dict[int, Any] = {}
        self.sequence = 0
        self.settings: list[Any] = []
        self.values: dict[str, int] = {}
        self.system_state = c.PowerSystemWorking
        self.idle: dict[int, Any] = {}
        self.idle_timer = 0
        self.handles: dict[int, int] = {}


def po(nt: Kernel) -> Po:
    """The power manager of the machine, made when first needed."""
    if nt.po is None:
        nt.po = Po(nt)
    return nt.po  # type: ignore[no-any-return]


@export(irql="<= DISPATCH")
def PoSetPowerState(
    nt: Kernel, DeviceObject: PDEVICE_OBJECT, Type: POWER_STATE_TYPE, State: Any
) -> Any:
    """Tell the power manager a device's new state; the old one. Source: WDK PoSetPowerState."""
    state = power_state(State)
    v = DEVOBJ_EXTENSION.at(nt.mmu, DeviceObject._v.DeviceObjectExtension)._v
    flags = v.PowerFlags
    if Type == c.SystemPowerState:
        v.PowerFlags = flags & ~SYSTEM_STATE | state & 0xF
        return PowerStateValue(flags & SYSTEM_STATE)
    v.PowerFlags = flags & ~DEVICE_STATE | (state & 0xF) << 4
    nt.emit_at(DevicePowerChanged, int(DeviceObject), f"D{state - 1}")
    return PowerStateValue((flags & DEVICE_STATE) >> 4)
