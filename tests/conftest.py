"""Shared by the tests of the kernel: run a few lines of driver code on a machine of one's own, or
an app against a driver with one device.

The code under test is a plain function that the machine runs as DriverEntry, so its lines are the
driver's in stacks and parameters. It may take DriverObject and RegistryPath, and returns whatever
the test wants to look at.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from ntsim import win32
from ntsim.errors import BugCheck
from ntsim.machine import Machine
from ntsim.wdm import *


class Entry:
    """A function as a DriverEntry that succeeds and keeps what the function returned."""

    def __init__(self, body: Callable[..., Any]) -> None:
        self.body = body
        self.__code__ = body.__code__
        self.takes = len(inspect.signature(body).parameters)
        self.value: Any = None

    def __call__(self, DriverObject: Any, RegistryPath: Any) -> int:
        self.value = self.body(*(DriverObject, RegistryPath)[: self.takes])
        if KeGetCurrentIrql():
            KeLowerIrql(0)  # returning at a raised level is bug check 0xE1, another test's subject
        return STATUS_SUCCESS


@dataclass
class Outcome:
    """`value` is what the driver code returned."""

    value: Any
    machine: Machine
    driver: Any


RunDriver = Callable[..., Outcome]
BugCheckOf = Callable[..., BugCheck]


@pytest.fixture
def run_driver(ntsim_machine: Callable[..., Machine]) -> RunDriver:
    """`run_driver(function, **machine_options)`: an Outcome, or the error the run ends in."""

    def run(body: Callable[..., Any], **options: Any) -> Outcome:
        entry = Entry(body)
        machine = ntsim_machine(**options)
        driver = machine.load_driver(entry, name="drv.sys")
        return Outcome(entry.value, machine, driver)

    return run


@pytest.fixture
def value_of(run_driver: RunDriver) -> Callable[..., Any]:
    """`value_of(function, **machine_options)`: what the driver code returned."""
    return lambda body, **options: run_driver(body, **options).value


@pytest.fixture
def bugcheck_of(run_driver: RunDriver) -> BugCheckOf:
    """`bugcheck_of(function, **machine_options)`: the bug check that the driver code ends in."""

    def run(body: Callable[..., Any], **options: Any) -> BugCheck:
        with pytest.raises(BugCheck) as caught:
            run_driver(body, **options)
        return caught.value

    return run


# A device, and an app that uses it

NAME = "\\\\.\\Thing"
IOCTL_BUFFERED = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)


def complete(Irp: Any, status: int = STATUS_SUCCESS, information: int = 0) -> int:
    """Complete a request and return its status."""
    Irp.IoStatus.Status = status
    Irp.IoStatus.Information = information
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return status


def succeed(DeviceObject: Any, Irp: Any) -> int:
    return complete(Irp)


def thing_driver(**routines: Callable[..., Any]) -> Callable[..., int]:
    """A DriverEntry for one device `Thing`.

    Keywords name major functions (`create`, `device_control`, ...); the others succeed. `unload`
    and `device(DeviceObject)` are called at their time.
    """

    def unload(DriverObject: Any) -> None:
        routines.get("unload", lambda driver: None)(DriverObject)
        IoDeleteSymbolicLink(UNICODE_STRING("\\DosDevices\\Thing"))
        IoDeleteDevice(DriverObject.DeviceObject)

    def DriverEntry(DriverObject: Any, RegistryPath: Any) -> int:
        DriverObject.DriverUnload = unload
        for major in ("create", "cleanup", "close", "device_control", "read", "write"):
            number = globals()[f"IRP_MJ_{major.upper()}"]
            DriverObject.MajorFunction[number] = routines.get(major, succeed)
        device_name = UNICODE_STRING("\\Device\\Thing")
        Status, DeviceObject = IoCreateDevice(
            DriverObject, 0, device_name, FILE_DEVICE_UNKNOWN, 0, FALSE
        )
        routines.get("device", lambda device: None)(DeviceObject)
        IoCreateSymbolicLink(UNICODE_STRING("\\DosDevices\\Thing"), device_name)
        return Status

    return DriverEntry


def open_thing() -> Any:
    """The app's side: a handle to the device."""
    access = win32.GENERIC_READ | win32.GENERIC_WRITE
    return win32.CreateFile(NAME, access, 0, None, win32.OPEN_EXISTING, 0, None)


def one_request() -> None:
    """An app that sends one control code without buffers."""
    win32.DeviceIoControl(open_thing(), IOCTL_BUFFERED, None, 0)


@dataclass
class Ran:
    """An app that has run against the device."""

    machine: Machine
    process: Any
    value: Any


@pytest.fixture
def run_app(ntsim_machine: Callable[..., Machine]) -> Callable[..., Ran]:
    """`run_app(app, options={}, **routines)`: load the device's driver, run the app to its end."""

    def run(app: Callable[[], Any] = one_request, options: Any = None, **routines: Any) -> Ran:
        machine = ntsim_machine(**(options or {}))
        machine.load_driver(thing_driver(**routines), name="thing.sys")
        values: list[Any] = []
        process = machine.run(lambda: values.append(app()), name="app.exe")
        assert process.exit_code == 0, process.stderr
        return Ran(machine, process, values[0])

    return run


@pytest.fixture
def crash_of(ntsim_machine: Callable[..., Machine]) -> Callable[..., Any]:
    """The same for a run that ends in a bug check: (bug check, machine)."""

    def run(app: Callable[[], Any] = one_request, options: Any = None, **routines: Any) -> Any:
        machine = ntsim_machine(**(options or {}))
        machine.load_driver(thing_driver(**routines), name="thing.sys")
        with pytest.raises(BugCheck) as caught:
            machine.run(app, name="app.exe")
        return caught.value, machine

    return run
