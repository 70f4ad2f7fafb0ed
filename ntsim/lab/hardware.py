"""The devices of a target: what is plugged into the machine before its apps start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ntsim.devices import Device
    from ntsim.machine import Machine
    from ntsim.nt.io.driver import Driver


@dataclass(frozen=True, slots=True)
class DeviceSetup:
    """Arguments of `Machine.plug`. `model` makes the device's model, which is told its Device."""

    hardware_id: str
    ports: tuple[tuple[int, int], ...] = ()
    memory: tuple[int, ...] = ()
    interrupts: tuple[int, ...] = ()
    model: Callable[[], Any] | None = None


def plug(machine: Machine, setup: DeviceSetup, driver: Driver) -> Device:
    """Plug a device in and give its model the Device, so that it can interrupt."""
    model = setup.model() if setup.model is not None else None
    device = machine.plug(
        setup.hardware_id,
        driver,
        ports=setup.ports,
        memory=setup.memory,
        interrupts=setup.interrupts,
        model=model,
    )
    if model is not None:
        model.device = device
    return device
