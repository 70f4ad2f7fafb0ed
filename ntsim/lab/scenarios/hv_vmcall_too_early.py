"""VMCALL when the system was never virtualised."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def parameter_1_is_illegal_instruction(facts: Facts) -> bool:
    """Parameter 1 is 0xc000001d, STATUS_ILLEGAL_INSTRUCTION."""
    return facts.parameters[0] == 0xC000001D


def the_drivers_routine_is_on_the_stack(facts: Facts) -> bool:
    return any(name.endswith("!WatchMsr") for name in facts.stack)


SCENARIO = Scenario(
    name="hv-vmcall-too-early",
    summary=("VMCALL when the system was never virtualised."),
    story=(
        "Starting the hypervisor failed, as it does inside another one, and the driver did not "
        "look. Its first service call executes VMCALL outside VMX operation."
    ),
    look_at="driver/hypervisor_crashes/ddimon_22.py; then the same with --fixed.",
    source="https://github.com/tandasat/DdiMon/issues/22",
    case=Case(
        drivers=("driver/hypervisor_crashes/ddimon_22.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        expected=Expectation(
            code=0x3B,
            checks=(
                parameter_1_is_illegal_instruction,
                the_drivers_routine_is_on_the_stack,
            ),
        ),
        ends="bug check 0x3b in the first service call",
    ),
    fixed=Case(
        drivers=("driver/hypervisor_system.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        unload=True,
        ends="the hypervisor comes and goes",
    ),
)
