"""A dispatch routine returns an error and does not complete the IRP."""

from ntsim.lab.checks import app_says, parameter, parameter_in_driver, parameter_is_pool
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="irp-not-completed",
    summary="A dispatch routine returns an error and does not complete the IRP.",
    story=(
        "The driver refuses a request that is too large: it returns STATUS_INVALID_PARAMETER, and "
        "that is all. To return a status completes nothing. Driver Verifier notices when the "
        "routine returns; without it the app waits for ever."
    ),
    look_at="driver/crashes/irp_not_completed.py, DeviceControl; then the same with --fixed.",
    source="A blog post about a driver's first day with Driver Verifier.",
    case=Case(
        drivers=("driver/crashes/irp_not_completed.py",),
        apps=("userapp/crash_app.py",),
        verifier="standard",
        expected=Expectation(
            code=0xC9,
            checks=(
                parameter(1, 0x226, "an IRP that is neither completed nor passed down"),
                parameter_in_driver(2, "DeviceControl", "the dispatch routine"),
                parameter_is_pool(3, "the IRP"),
            ),
        ),
        ends="bug check 0xc9 when the dispatch routine returns",
    ),
    fixed=Case(
        drivers=("driver/crashes/irp_not_completed_fixed.py",),
        apps=("userapp/crash_app.py",),
        verifier="standard",
        unload=True,
        expected=Expectation(checks=(app_says("work failed:"),)),
        ends="the app is told that the size is wrong",
    ),
)
