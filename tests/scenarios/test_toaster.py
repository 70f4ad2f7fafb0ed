"""driver/pnp_function.py under what its scenario does not do."""

import pytest

import ntsim
from ntsim.lab.samples import samples_root
from ntsim.lab.scenarios.pnp_function import Toaster

APP = samples_root() / "userapp/pnp_function_app.py"
DRIVER = samples_root() / "driver/pnp_function.py"


@pytest.fixture
def toaster(ntsim_machine):
    machine = ntsim_machine(processors=2)
    model = Toaster()
    device = machine.plug(
        "ROOT\\TOASTER", machine.load_driver(DRIVER), ports=((0x500, 1),), interrupts=(5,),
        model=model,
    )  # fmt: skip
    model.device = device
    return machine, device


def test_stopped_and_started_again_it_still_toasts(toaster) -> None:
    machine, device = toaster
    assert (device.stop(), device.start()) == (0, 0)
    assert machine.run(APP).stdout == "Toast!\n"


def test_pulled_out_while_an_app_waits_removal_waits_for_the_app(toaster) -> None:
    """The remove lock holds IRP_MN_REMOVE_DEVICE back until the request is over."""
    machine, device = toaster
    silent = machine.nt.pnp.hardware[device.pdo].model
    silent.port_out = lambda port, size, value: None
    process = machine.start(APP)
    machine._run(lambda: any("IRP_MJ_DEVICE_CONTROL" in str(e) for e in machine.events[-40:]))
    machine.run_for(1_000_000)
    device.surprise_remove()
    assert device.state == "RemovePendingCloses"
    with pytest.raises(ntsim.Hang):
        machine.run_until_idle()
    assert process.exit_code is None


def test_two_toasters_have_interfaces_of_their_own(toaster) -> None:
    machine, first = toaster
    driver = next(d for d in machine.nt.io.drivers.values() if d.service == "pnp_function")
    second = machine.plug("ROOT\\TOASTER", driver, ports=((0x510, 1),), interrupts=(5,))
    assert second.instance_path == "ROOT\\TOASTER\\0001"
    second.remove()
    assert machine.run(APP).stdout == "Toast!\n"
    assert first.remove() == 0
    assert driver.unloaded
