"""A capability MSR that the processor does not have."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def parameter_1_is_privileged_instruction(facts: Facts) -> bool:
    """Parameter 1 is 0xc0000096, STATUS_PRIVILEGED_INSTRUCTION."""
    return facts.parameters[0] == 0xC0000096


SCENARIO = Scenario(
    name="hv-missing-msr",
    summary=("A capability MSR that the processor does not have."),
    story=(
        "A driver reads a VMX capability register without asking whether it exists. RDMSR is a "
        "general protection fault then, here in DriverEntry."
    ),
    look_at="driver/hypervisor_crashes/ksm_1.py; then the same with --fixed.",
    source="https://github.com/asamy/ksm/issues/1",
    case=Case(
        drivers=("driver/hypervisor_crashes/ksm_1.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        expected=Expectation(code=0x7E, checks=(parameter_1_is_privileged_instruction,)),
        ends="bug check 0x7e in DriverEntry",
    ),
    fixed=Case(
        drivers=("driver/hypervisor_system.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        unload=True,
        ends="the hypervisor comes and goes",
    ),
)
