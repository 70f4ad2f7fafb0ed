"""The devices of a target: what is plugged into the machine before its apps start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntsim.errors import ConfigurationError

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


def parse_setup(text: str) -> DeviceSetup:
    """`ROOT\\THING,irq=5,ports=0x500:8,memory=4096`: a hardware ID, then what the device has."""
    hardware_id, *words = text.split(",")
    found: dict[str, list[str]] = {"irq": [], "ports": [], "memory": []}
    for word in words:
        name, _, value = word.partition("=")
        if name not in found:
            raise ConfigurationError(f"--plug {text}: {word!r} is none of irq=, ports=, memory=")
        found[name].append(value)
    try:
        pairs = [value.partition(":") for value in found["ports"]]
        return DeviceSetup(
            hardware_id,
            ports=tuple((int(first, 0), int(count or "1", 0)) for first, _, count in pairs),
            memory=tuple(int(value, 0) for value in found["memory"]),
            interrupts=tuple(int(value, 0) for value in found["irq"]),
        )
    except ValueError:
        example = "--plug ROOT\\THING,irq=5,ports=0x500:8,memory=4096"
        raise ConfigurationError(f"--plug {text}: write it as {example}") from None


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
