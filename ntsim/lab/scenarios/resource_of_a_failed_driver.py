"""DriverEntry fails, and an ERESOURCE stays in the list of all."""

from ntsim.lab.checks import app_says, on_stack, parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="resource-of-a-failed-driver",
    summary="DriverEntry fails, and an ERESOURCE stays in the list of all.",
    story=(
        "A driver is installed twice, and the second one cannot create the device. Its "
        "DriverEntry returns the error and forgets that it has initialised a resource, and for a "
        "driver that failed no DriverUnload is called. The list leads into memory that is gone; "
        "who has the next resource finds out."
    ),
    look_at=(
        "driver/crashes/resource_of_a_failed_driver.py, DriverEntry; then the same with --fixed."
    ),
    source="https://github.com/zodiacon/windowskernelprogrammingbook2e/pull/27",
    case=Case(
        drivers=("driver/crashes/resource_of_a_failed_driver.py",),
        apps=("userapp/service_app.py",),
        arguments=(
            "resource_of_a_failed_driver",
            "driver/crashes/resource_of_a_failed_driver.py",
        ),
        expected=Expectation(
            code=0xD4,
            checks=(
                parameter(2, 2, "DISPATCH_LEVEL"),
                parameter(3, 0, "a read"),
                on_stack("ExDeleteResourceLite"),
                on_stack("Unload"),
            ),
        ),
        ends="bug check 0xd4 in ExDeleteResourceLite, for another resource",
    ),
    fixed=Case(
        drivers=("driver/crashes/resource_of_a_failed_driver_fixed.py",),
        apps=("userapp/service_app.py",),
        arguments=(
            "resource_of_a_failed_driver_fixed",
            "driver/crashes/resource_of_a_failed_driver_fixed.py",
        ),
        unload=True,
        expected=Expectation(
            checks=(
                app_says("start another failed:"),
                app_says("stop\nstart\n"),
            )
        ),
        ends="a DriverEntry that fails deletes what it has made",
    ),
)
