"""After VMXOFF the stack pointer is not the guest's."""

from ntsim.lab.checks import parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="hv-stack-after-vmxoff",
    summary="After VMXOFF the stack pointer is not the guest's.",
    story=(
        "The handler that ends the hypervisor keeps the guest's RSP in a structure and goes on "
        "with it after VMXOFF. It is stored at one offset and loaded from another. What was there "
        "before is no stack: a double fault where the guest should go on. (In the report "
        "something else was there, and the end was 0xa.)"
    ),
    look_at="driver/hypervisor_crashes/hd_14.py; then the same with --fixed.",
    source="https://github.com/HyperDbg/HyperDbg/issues/14",
    case=Case(
        drivers=("driver/hypervisor_crashes/hd_14.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        expected=Expectation(
            code=0x7F,
            checks=(
                parameter(1, 8, "a double fault"),
                parameter(3, 0, "RSP"),
            ),
        ),
        ends="bug check 0x7f after VMXOFF",
    ),
    fixed=Case(
        drivers=("driver/hypervisor_system.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        unload=True,
        ends="the hypervisor comes and goes",
    ),
)
