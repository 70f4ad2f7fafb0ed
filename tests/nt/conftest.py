"""A device, and an app that uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from ntsim import win32
from ntsim.errors import BugCheck
from ntsim.machine import Machine
from ntsim.wdm import *

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
