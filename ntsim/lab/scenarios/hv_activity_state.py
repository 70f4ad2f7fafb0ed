"""A guest-state field that nobody wrote."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def parameter_1_is_the_exit_reason(facts: Facts) -> bool:
    """Parameter 1 is the exit reason: a failed entry, invalid guest state."""
    return facts.parameters[0] == 0x80000021


SCENARIO = Scenario(
    name="hv-activity-state",
    summary=("A guest-state field that nobody wrote."),
    story=(
        "VMCLEAR does not initialise a VMCS: what is not written is what the region held. An "
        "activity state above 3 is none, and VMLAUNCH fails late: invalid guest state."
    ),
    look_at="driver/hypervisor_crashes/bluepill_7.py; then the same with --fixed.",
    source="A bluepill README.",
    case=Case(
        drivers=("driver/hypervisor_crashes/bluepill_7.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        expected=Expectation(code=0x20001, checks=(parameter_1_is_the_exit_reason,)),
        ends="VM entry fails, reason 33, and the driver stops the system",
    ),
    fixed=Case(
        drivers=("driver/hypervisor_system.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        unload=True,
        ends="the hypervisor comes and goes",
    ),
)
