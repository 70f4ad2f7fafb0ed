"""An IRP is forwarded to a device for which it has no stack location."""

from ntsim.lab.checks import on_stack, parameter, parameter_is_pool
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="stack-size-too-small",
    summary="An IRP is forwarded to a device for which it has no stack location.",
    story=(
        "A driver forwards the requests of its device to another driver's, which it has opened by "
        "name. StackSize of its own device is still 1, and that is how many locations the I/O "
        "manager gives each IRP. The second driver has none."
    ),
    look_at=(
        "driver/crashes/stack_size_too_small.py, DriverEntry: what IoAttachDeviceToDeviceStack "
        "would have done; then the same with --fixed."
    ),
    source='OSR, "Getting IRP stack sizes right" and similar articles.',
    case=Case(
        drivers=(
            "driver/crashes/lower.py",
            "driver/crashes/stack_size_too_small.py",
        ),
        apps=("userapp/crash_app.py",),
        expected=Expectation(
            code=0x35,
            checks=(
                parameter_is_pool(1, "the IRP"),
                parameter(2, 0, "reserved"),
                on_stack("Forward"),
            ),
        ),
        ends="bug check 0x35 in IofCallDriver",
    ),
    fixed=Case(
        drivers=(
            "driver/crashes/lower.py",
            "driver/crashes/stack_size_too_small_fixed.py",
        ),
        apps=("userapp/crash_app.py",),
        unload=True,
        ends="the lower driver completes what is forwarded",
    ),
)
