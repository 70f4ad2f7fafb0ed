"""VMCALL in a DPC, on a processor where no hypervisor is."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def parameter_1_is_illegal_instruction(facts: Facts) -> bool:
    """Parameter 1 is 0xc000001d, STATUS_ILLEGAL_INSTRUCTION."""
    return facts.parameters[0] == 0xC000001D


def the_drivers_routine_is_on_the_stack(facts: Facts) -> bool:
    return any(name.endswith("!CountDpc") for name in facts.stack)


SCENARIO = Scenario(
    name="hv-vmcall-in-dpc",
    summary=("VMCALL in a DPC, on a processor where no hypervisor is."),
    story=(
        "A loop over the processors ends one too early; later a broadcast executes VMCALL on all "
        "of them. On the last one that is an invalid opcode, and nothing below a DPC handles "
        "exceptions."
    ),
    look_at="driver/hypervisor_crashes/ksm_29.py; then the same with --fixed.",
    source="https://github.com/asamy/ksm/issues/29",
    case=Case(
        drivers=("driver/hypervisor_crashes/ksm_29.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        expected=Expectation(
            code=0x1E,
            checks=(
                parameter_1_is_illegal_instruction,
                the_drivers_routine_is_on_the_stack,
            ),
        ),
        ends="bug check 0x1e in the DPC",
    ),
    fixed=Case(
        drivers=("driver/hypervisor_system.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        unload=True,
        ends="the hypervisor comes and goes",
    ),
)
