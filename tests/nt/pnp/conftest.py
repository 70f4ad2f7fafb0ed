"""A WDM function driver to test with: its stack location by location, every IRP it got noted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from ntsim.abi import wdm_constants as c
from ntsim.devices import Device
from ntsim.machine import Machine
from ntsim.wdm import *

MINORS = {
    value: name.removeprefix("IRP_MN_")
    for name, value in vars(c).items()
    if name.startswith("IRP_MN_") and value <= 0x19
    if name in (
        "IRP_MN_START_DEVICE IRP_MN_QUERY_REMOVE_DEVICE IRP_MN_REMOVE_DEVICE "
        "IRP_MN_CANCEL_REMOVE_DEVICE IRP_MN_STOP_DEVICE IRP_MN_QUERY_STOP_DEVICE "
        "IRP_MN_CANCEL_STOP_DEVICE IRP_MN_QUERY_DEVICE_RELATIONS IRP_MN_QUERY_INTERFACE "
        "IRP_MN_QUERY_CAPABILITIES IRP_MN_QUERY_RESOURCES IRP_MN_QUERY_RESOURCE_REQUIREMENTS "
        "IRP_MN_QUERY_DEVICE_TEXT IRP_MN_FILTER_RESOURCE_REQUIREMENTS IRP_MN_EJECT "
        "IRP_MN_QUERY_ID IRP_MN_QUERY_PNP_DEVICE_STATE IRP_MN_QUERY_BUS_INFORMATION "
        "IRP_MN_SURPRISE_REMOVAL IRP_MN_DEVICE_ENUMERATED"
    ).split()
}  # fmt: skip


@dataclass
class Function:
    """A function driver. `seen` are the names of its PnP IRPs, `notes` whatever a hook returns.

    `hooks` map a minor code to a routine (DeviceObject, Irp) that returns a status to complete the
    IRP with, or None to pass it down. `power` is the driver's IRP_MJ_POWER routine.
    """

    hooks: dict[int, Callable[[Any, Any], int | None]] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    levels: set[tuple[int, int]] = field(default_factory=set)
    pdo: int = 0
    fdo: Any = None
    below: Any = None
    add: Callable[[Any, Any], int] | None = None
    power: Callable[[Any, Any], int] | None = None
    flags: int = DO_POWER_PAGABLE
    driver: Any = None

    def add_device(self, DriverObject: Any, PhysicalDeviceObject: Any) -> int:
        self.seen.append("AddDevice")
        if self.add is not None:
            return self.add(DriverObject, PhysicalDeviceObject)
        return self.attach(DriverObject, PhysicalDeviceObject)

    def attach(self, DriverObject: Any, PhysicalDeviceObject: Any) -> int:
        _, fdo = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        self.pdo, self.fdo = int(PhysicalDeviceObject), fdo
        self.below = IoAttachDeviceToDeviceStack(fdo, PhysicalDeviceObject)
        fdo.Flags = (fdo.Flags | self.flags) & ~DO_DEVICE_INITIALIZING
        return STATUS_SUCCESS

    def pnp(self, DeviceObject: Any, Irp: Any) -> int:
        minor = IoGetCurrentIrpStackLocation(Irp).MinorFunction
        self.seen.append(MINORS.get(minor, str(minor)))
        self.levels.add((KeGetCurrentIrql(), Irp.IoStatus.Status))
        status = self.hooks[minor](DeviceObject, Irp) if minor in self.hooks else None
        if status is not None:
            Irp.IoStatus.Status = status
            IoCompleteRequest(Irp, IO_NO_INCREMENT)
            return status
        if minor in HANDLED:
            Irp.IoStatus.Status = STATUS_SUCCESS
        IoSkipCurrentIrpStackLocation(Irp)
        status = IoCallDriver(self.below, Irp)
        if minor == IRP_MN_REMOVE_DEVICE:
            IoDetachDevice(self.below)
            IoDeleteDevice(DeviceObject)
        return status

    def pass_power(self, DeviceObject: Any, Irp: Any) -> int:
        if self.power is not None:
            return self.power(DeviceObject, Irp)
        IoSkipCurrentIrpStackLocation(Irp)
        return PoCallDriver(self.below, Irp)

    def entry(self, DriverObject: Any, RegistryPath: Any) -> int:
        DriverObject.DriverExtension.AddDevice = self.add_device
        DriverObject.MajorFunction[IRP_MJ_PNP] = self.pnp
        DriverObject.MajorFunction[IRP_MJ_POWER] = self.pass_power
        for major in (IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE):
            DriverObject.MajorFunction[major] = succeed
        DriverObject.DriverUnload = self.unload
        return STATUS_SUCCESS

    def unload(self, DriverObject: Any) -> None:
        self.seen.append("Unload")


HANDLED = (
    IRP_MN_START_DEVICE, IRP_MN_QUERY_STOP_DEVICE, IRP_MN_CANCEL_STOP_DEVICE, IRP_MN_STOP_DEVICE,
    IRP_MN_QUERY_REMOVE_DEVICE, IRP_MN_CANCEL_REMOVE_DEVICE, IRP_MN_REMOVE_DEVICE,
    IRP_MN_SURPRISE_REMOVAL,
)  # fmt: skip
"""What a function driver says STATUS_SUCCESS to before it passes the IRP down."""


def succeed(DeviceObject: Any, Irp: Any) -> int:
    Irp.IoStatus.Status = STATUS_SUCCESS
    Irp.IoStatus.Information = 0
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return STATUS_SUCCESS


@dataclass
class Plugged:
    """A device that was plugged into a machine, and its function driver."""

    machine: Machine
    device: Device
    function: Function
    driver: Any

    def seen(self) -> list[str]:
        """What the driver got since the last question."""
        found, self.function.seen[:] = list(self.function.seen), []
        return found


@pytest.fixture
def plug(ntsim_machine: Callable[..., Machine]) -> Callable[..., Plugged]:
    """`plug(function, **properties)`: a machine with the driver and the device plugged in."""

    def make(
        function: Function | None = None, options: Any = None, **properties: Any
    ) -> Plugged:
        function = function or Function()
        machine = ntsim_machine(**(options or {}))

        def DriverEntry(DriverObject, RegistryPath):
            return function.entry(DriverObject, RegistryPath)

        driver = machine.load_driver(DriverEntry, name="function.sys")
        device = machine.plug("ROOT\\THING", driver, **properties)
        return Plugged(machine, device, function, driver)

    return make
