"""An exit handler waits, in root operation, for what never comes."""

from ntsim.lab.checks import parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="hv-never-back",
    summary="An exit handler waits, in root operation, for what never comes.",
    story=(
        "A change is to take effect everywhere at once, and the handler of each processor waits "
        "for the handlers of all others. But the app's request goes from one processor to the "
        "next: the first waits with interrupts off, and no other ever comes. Another processor "
        "notices the missing clock interrupts."
    ),
    look_at="driver/hypervisor_crashes/hv_9.py; then the same with --fixed.",
    source="https://github.com/jonomango/hv/issues/9",
    case=Case(
        drivers=("driver/hypervisor_crashes/hv_9.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        expected=Expectation(
            code=0x101,
            checks=(
                parameter(2, 0, "reserved"),
                parameter(4, 0, "the processor that does not answer"),
            ),
        ),
        ends="bug check 0x101 on another processor",
    ),
    fixed=Case(
        drivers=("driver/hypervisor_system.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        unload=True,
        ends="the hypervisor comes and goes",
    ),
)
