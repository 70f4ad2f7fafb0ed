"""Shared by the tests of the kernel: run a few lines of driver code on a machine of one's own.

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

from ntsim.errors import BugCheck
from ntsim.machine import Machine
from ntsim.wdm import KeGetCurrentIrql, KeLowerIrql

STATUS_SUCCESS = 0


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
