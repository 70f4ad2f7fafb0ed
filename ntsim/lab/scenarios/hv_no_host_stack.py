"""HOST_RSP is no address of a stack."""

from ntsim.lab.checks import parameter, parameter_in_driver
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="hv-no-host-stack",
    summary="HOST_RSP is no address of a stack.",
    story=(
        "The top of the host stack goes into HOST_RSP, but of its physical address. The first VM "
        "exit loads it, the first push faults, and the frame of that page fault cannot be pushed "
        "either: a double fault."
    ),
    look_at="driver/hypervisor_crashes/ksm_30.py; then the same with --fixed.",
    source="https://github.com/asamy/ksm/issues/30",
    case=Case(
        drivers=("driver/hypervisor_crashes/ksm_30.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        expected=Expectation(
            code=0x7F,
            checks=(
                parameter(1, 8, "a double fault"),
                parameter_in_driver(4, "ExitHandler", "RIP, which is HOST_RIP"),
            ),
        ),
        ends="bug check 0x7f at the first VM exit",
    ),
    fixed=Case(
        drivers=("driver/hypervisor_system.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        unload=True,
        ends="the hypervisor comes and goes",
    ),
)
