"""The status that a dispatch routine returns is read from a completed IRP."""

from ntsim.lab.checks import on_stack, parameter, parameter_in_driver
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="irp-after-completion",
    summary="The status that a dispatch routine returns is read from a completed IRP.",
    story=(
        "IoCompleteRequest gives the IRP away, and the requester frees it, often before the call "
        "returns. A routine ends with: return Irp->IoStatus.Status. Most of the time the old "
        "bytes are still there; with Driver Verifier IRPs come from special pool, and a freed one "
        "is not there at all."
    ),
    look_at="driver/crashes/irp_after_completion.py, DeviceControl; then the same with --fixed.",
    source="https://github.com/HoShiMin/Kernel-Bridge/issues/19",
    case=Case(
        drivers=("driver/crashes/irp_after_completion.py",),
        apps=("userapp/crash_app.py",),
        verifier="standard",
        expected=Expectation(
            code=0xD5,
            checks=(
                parameter(2, 0, "a read"),
                parameter_in_driver(3, "DeviceControl", "the instruction"),
                on_stack("DeviceControl"),
            ),
        ),
        ends="bug check 0xd5 at the return",
    ),
    fixed=Case(
        drivers=("driver/crashes/irp_after_completion_fixed.py",),
        apps=("userapp/crash_app.py",),
        verifier="standard",
        unload=True,
        ends="the status is kept in a variable",
    ),
)
