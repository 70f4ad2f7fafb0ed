"""An exit handler reads the guest's memory through its own page tables."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def the_IRQL_is_reported_as_0xFF(facts: Facts) -> bool:
    """Parameter 2 is 0xff: interrupts are off after a VM exit."""
    return facts.parameters[1] == 0xFF


def the_drivers_routine_is_on_the_stack(facts: Facts) -> bool:
    return any(name.endswith("!HandleEptViolation") for name in facts.stack)


SCENARIO = Scenario(
    name="hv-wrong-page-tables",
    summary=("An exit handler reads the guest's memory through its own page tables."),
    story=(
        "A linear address of the guest means something in its CR3 alone. The exit has loaded "
        "HOST_CR3, nothing is mapped there, and with interrupts off no page fault can be served."
    ),
    look_at="driver/hypervisor_crashes/hd_22.py; then the same with --fixed.",
    source="https://github.com/HyperDbg/HyperDbg/issues/22",
    case=Case(
        drivers=("driver/hypervisor_crashes/hd_22.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        expected=Expectation(
            code=0xD1,
            checks=(
                the_IRQL_is_reported_as_0xFF,
                the_drivers_routine_is_on_the_stack,
            ),
        ),
        ends="bug check 0xd1 with IRQL 0xff, in the exit handler",
    ),
    fixed=Case(
        drivers=("driver/hypervisor_system.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        unload=True,
        ends="the hypervisor comes and goes",
    ),
)
