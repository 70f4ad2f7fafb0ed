"""A function driver over a simulated bus: plugged in, used, put to sleep, woken, removed."""

from __future__ import annotations

from ntsim.devices import Device
from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.hardware import DeviceSetup
from ntsim.lab.scenario import Case, Scenario
from ntsim.nt.events import DriverUnloaded


class Toaster:
    """The hardware: a write to its port starts it, and it interrupts when the toast is done."""

    device: Device

    def port_out(self, port: int, size: int, value: int) -> None:
        self.device.interrupt()


TOASTER = DeviceSetup("ROOT\\TOASTER", ports=((0x500, 1),), interrupts=(5,), model=Toaster)


def the_app_gets_its_toast(facts: Facts) -> bool:
    """The app opens the device by its interface and gets its toast."""
    return bool(facts.app().stdout == "Toast!\n")


def the_device_sleeps_and_wakes_with_the_system(facts: Facts) -> bool:
    return facts.debug_output[-2:] == ["toaster: D3", "toaster: D0"]


def the_driver_goes_with_its_device(facts: Facts) -> bool:
    """The driver is unloaded when its last device has been removed."""
    return any(event.name == "pnp_function.sys" for event in facts.events(DriverUnloaded))


SCENARIO = Scenario(
    name="pnp-function",
    summary="A WDM function driver: AddDevice, start, an interrupt, sleep, removal.",
    story=(
        "A toaster is plugged into the bus. Its driver attaches to the PDO, gets a port and an "
        "interrupt with IRP_MN_START_DEVICE and enables an interface, by which the app opens it. "
        "Then the system sleeps and wakes, and the toaster is removed."
    ),
    look_at="driver/pnp_function.py, ToasterPnp and ToasterPower.",
    source="ntsim's own; the shape of Microsoft's toaster sample.",
    case=Case(
        drivers=("driver/pnp_function.py",),
        apps=("userapp/pnp_function_app.py",),
        devices=(TOASTER,),
        sleep=True,
        unload=True,
        expected=Expectation(
            checks=(
                the_app_gets_its_toast,
                the_device_sleeps_and_wakes_with_the_system,
                the_driver_goes_with_its_device,
            )
        ),
        ends="the app gets its toast; the device sleeps, wakes and is removed",
    ),
)
