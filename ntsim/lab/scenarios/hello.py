"""The first driver and its app."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def the_app_prints_the_drivers_answer(facts: Facts) -> bool:
    """The app prints the driver's answer."""
    return bool(facts.app().stdout == "Hello, kernel!\n")


SCENARIO = Scenario(
    name="hello",
    summary="The first driver: a device, one control code, a clean way out.",
    story="An app opens \\\\.\\Hello, sends a name with DeviceIoControl and prints the answer.",
    look_at="driver/hello.py, HelloDeviceControl: METHOD_BUFFERED's one buffer for both ways.",
    source="ntsim's own; the shape of every WDM sample.",
    case=Case(
        drivers=("driver/hello.py",),
        apps=("userapp/helloapp.py",),
        unload=True,
        expected=Expectation(checks=(the_app_prints_the_drivers_answer,)),
        ends="the app prints the driver's answer",
    ),
)
