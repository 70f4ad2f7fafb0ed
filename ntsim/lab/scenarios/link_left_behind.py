"""The wrong name is deleted at unload, and the driver never starts again."""

from ntsim.lab.checks import app_says
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="link-left-behind",
    summary="The wrong name is deleted at unload, and the driver never starts again.",
    story=(
        "DriverUnload gives IoDeleteSymbolicLink the name of the device. That is no link; nothing "
        "is deleted and nobody looks at the status. The link outlives the driver, and at its next "
        "start the name is taken."
    ),
    look_at="driver/crashes/link_left_behind.py, Unload; then the same with --fixed.",
    source="https://github.com/SinaKarvandi/Hypervisor-From-Scratch/issues/4",
    case=Case(
        drivers=("driver/crashes/link_left_behind.py",),
        apps=("userapp/service_app.py",),
        arguments=("link_left_behind",),
        expected=Expectation(
            checks=(app_says("start failed: Cannot create a file when that file already exists."),)
        ),
        ends="the second start fails: the name of the link is taken",
    ),
    fixed=Case(
        drivers=("driver/crashes/link_left_behind_fixed.py",),
        apps=("userapp/service_app.py",),
        arguments=("link_left_behind_fixed",),
        unload=True,
        expected=Expectation(checks=(app_says("stop\nstart\n"),)),
        ends="the driver starts as often as it is stopped",
    ),
)
