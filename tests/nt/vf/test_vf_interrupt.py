"""Driver Verifier and interrupt routines. Source: WDK Bug Check 0xC4, parameter 1 = 0x111."""

import pytest

from ntsim.errors import BugCheck
from ntsim.wdm import *


def test_a_service_routine_that_returns_at_another_irql(ntsim_machine) -> None:
    levels = []

    def service(Interrupt, ServiceContext) -> bool:
        levels.append(KeGetCurrentIrql())
        KeRaiseIrql(HIGH_LEVEL)
        return True

    def DriverEntry(DriverObject, RegistryPath) -> int:
        status, _ = IoConnectInterrupt(
            service, NULL, NULL, 0x71, 7, 7, LevelSensitive, FALSE, 1, FALSE
        )
        assert status == STATUS_SUCCESS
        return STATUS_SUCCESS

    machine = ntsim_machine(verifier="misc", processors=1)
    machine.load_driver(DriverEntry, name="drv.sys")
    machine.nt.processors[0].apic.request(0x71)
    with pytest.raises(BugCheck) as caught:
        machine.run_until_idle()
    code, kind, _, before, now = (caught.value.code, *caught.value.parameters)
    assert (code, kind, before, now) == (0xC4, 0x111, levels[0], HIGH_LEVEL)
