"""RDTSCP is an invalid opcode in a guest that was not allowed it."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def parameter_1_is_illegal_instruction(facts: Facts) -> bool:
    """Parameter 1 is 0xc000001d, STATUS_ILLEGAL_INSTRUCTION."""
    return facts.parameters[0] == 0xC000001D


def the_drivers_routine_is_on_the_stack(facts: Facts) -> bool:
    return any(name.endswith("!IoctlTouch") for name in facts.stack)


SCENARIO = Scenario(
    name="hv-rdtscp-in-guest",
    summary=("RDTSCP is an invalid opcode in a guest that was not allowed it."),
    story=(
        "CPUID promises RDTSCP, and all of Windows uses it. In VMX non-root operation it needs a "
        "secondary control of its own, as INVPCID and XSAVES do."
    ),
    look_at="driver/hypervisor_crashes/hyperwin_12.py; then the same with --fixed.",
    source="HyperWin pull request 12; SimpleVisor pull request 24 for INVPCID.",
    case=Case(
        drivers=("driver/hypervisor_crashes/hyperwin_12.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        expected=Expectation(
            code=0x3B,
            checks=(
                parameter_1_is_illegal_instruction,
                the_drivers_routine_is_on_the_stack,
            ),
        ),
        ends="bug check 0x3b at the first RDTSCP",
    ),
    fixed=Case(
        drivers=("driver/hypervisor_system.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        unload=True,
        ends="the hypervisor comes and goes",
    ),
)
