"""A second hypervisor on a processor that is a guest already."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def parameter_4_is_a_processor_that_ran_a_guest(facts: Facts) -> bool:
    """Parameter 4 is the processor that never came back."""
    return facts.parameters[3] in facts.processors_that_ran_a_guest


SCENARIO = Scenario(
    name="hv-two-hypervisors",
    summary=("A second hypervisor on a processor that is a guest already."),
    story=(
        "VMXON of a guest exits. The first hypervisor knows of no such exit and just resumes: the "
        "same instruction, for ever, with interrupts off."
    ),
    look_at="driver/hypervisor_crashes/hvpp_36.py; then the same with --fixed.",
    source="https://github.com/wbenny/hvpp/issues/36",
    case=Case(
        drivers=("driver/hypervisor_crashes/hvpp_36.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        expected=Expectation(code=0x101, checks=(parameter_4_is_a_processor_that_ran_a_guest,)),
        ends="bug check 0x101: a processor takes no clock interrupt any more",
    ),
    fixed=Case(
        drivers=("driver/hypervisor_system.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        unload=True,
        ends="the hypervisor comes and goes",
    ),
)
