"""WHY, for power IRPs that nobody completes and buses that report nonsense."""

import pytest

import ntsim
from ntsim.lab.run import run
from ntsim.lab.scenarios import find
from ntsim.wdm import *
from tests.nt.pnp.conftest import Function, plug

__all__ = ["plug"]


def test_a_lost_power_irp_names_the_driver_that_has_it() -> None:
    with run(find("power-irp-lost").target()) as made:
        report = made.machine.report()
    assert report.summary.startswith("A power IRP was never completed: IRP 0x")
    assert report.summary.endswith("(SET_POWER S3); \\Driver\\pnp_function_lost_irp has it.")
    assert report.bucket == "0x9F_3_IMAGE_pnp_function_lost_irp.sys"
    assert report.image_name == "pnp_function_lost_irp.sys"


def test_deleting_a_device_with_a_power_irp_says_so(plug) -> None:
    def power(DeviceObject, Irp) -> int:
        IoMarkIrpPending(Irp)
        IoDetachDevice(function.below)
        IoDeleteDevice(DeviceObject)
        return STATUS_PENDING

    function = Function(power=power)
    made = plug(function)
    with pytest.raises(ntsim.BugCheck):
        made.device.power("D3")
    assert "was deleted while its driver held a power IRP" in made.machine.report().summary


def test_a_device_that_is_no_pdo_says_so(plug) -> None:
    function = Function()
    function.hooks[IRP_MN_START_DEVICE] = lambda device, irp: IoInvalidateDeviceState(device)
    with pytest.raises(ntsim.BugCheck) as caught:
        plug(function)
    assert caught.value.parameters[0] == 2
