"""The guest's invalid value becomes a fault of the hypervisor."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def parameter_1_is_incorrect_stack(facts: Facts) -> bool:
    """Parameter 1 is 4, FAST_FAIL_INCORRECT_STACK."""
    return facts.parameters[0] == 4


def the_drivers_routine_is_on_the_stack(facts: Facts) -> bool:
    return any(name.endswith("!HandleWrmsr") for name in facts.stack)


SCENARIO = Scenario(
    name="hv-fault-in-root",
    summary=("The guest's invalid value becomes a fault of the hypervisor."),
    story=(
        "A guest that writes an invalid value would get #GP. The exit handler executes the "
        "instruction for it, and has the #GP itself, in root operation and on a stack of the "
        "driver's own, where Windows does not even look for a handler."
    ),
    look_at="driver/hypervisor_crashes/hd_429.py; then the same with --fixed.",
    source="https://github.com/HyperDbg/HyperDbg/issues/429 (there it is XSETBV)",
    case=Case(
        drivers=("driver/hypervisor_crashes/hd_429.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        expected=Expectation(
            code=0x139,
            checks=(
                parameter_1_is_incorrect_stack,
                the_drivers_routine_is_on_the_stack,
            ),
        ),
        ends="bug check 0x139 in the exit handler",
    ),
    fixed=Case(
        drivers=("driver/hypervisor_system.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        unload=True,
        ends="the hypervisor comes and goes",
    ),
)
