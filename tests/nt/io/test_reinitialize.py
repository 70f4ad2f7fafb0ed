"""Reinitialization routines. Source: WDK IoRegisterDriverReinitialization."""

import pytest

from ntsim.errors import DriverLoadError
from ntsim.wdm import *


@pytest.mark.parametrize(
    "register", [IoRegisterDriverReinitialization, IoRegisterBootDriverReinitialization]
)
def test_a_routine_runs_after_driver_entry_and_may_ask_again(ntsim_machine, register) -> None:
    heard: list = []

    def again(DriverObject, Context, Count) -> None:
        heard.append((int(Context), int(Count), KeGetCurrentIrql()))
        if Count < 3:
            register(DriverObject, again, Context)

    def DriverEntry(DriverObject, RegistryPath) -> int:
        register(DriverObject, again, 7)
        heard.append("entry done")
        return STATUS_SUCCESS

    ntsim_machine().load_driver(DriverEntry, name="drv.sys")
    assert heard == ["entry done", (7, 1, 0), (7, 2, 0), (7, 3, 0)]


def test_the_routine_of_a_driver_that_fails_is_not_called(ntsim_machine) -> None:
    heard: list = []

    def DriverEntry(DriverObject, RegistryPath) -> int:
        IoRegisterDriverReinitialization(DriverObject, lambda *_: heard.append(1), 0)
        return STATUS_UNSUCCESSFUL

    machine = ntsim_machine()
    with pytest.raises(DriverLoadError):
        machine.load_driver(DriverEntry, name="bad.sys")
    machine.load_driver(lambda DriverObject, RegistryPath: 0, name="good.sys")
    assert heard == []
