"""A control bit that this processor does not have."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def VMLAUNCH_fails_with_error_7(facts: Facts) -> bool:
    failed = [e.text_ for e in facts.vmx("VmxInstructionFailed")]
    return any("VMLAUNCH" in text and "7" in text for text in failed)


def no_processor_is_left_in_VMX_operation(facts: Facts) -> bool:
    return all(p.vmx.mode_name == "off" for p in facts.machine.nt.processors)


SCENARIO = Scenario(
    name="hv-wrong-control",
    summary=("A control bit that this processor does not have."),
    story=(
        "The driver sets a secondary control after it has looked at the capability MSRs. VMLAUNCH "
        "fails with error 7 and the driver takes every processor out again."
    ),
    look_at="driver/hypervisor_crashes/noir_24.py; then the same with --fixed.",
    source="https://github.com/Zero-Tang/NoirVisor/issues/24",
    case=Case(
        drivers=("driver/hypervisor_crashes/noir_24.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        expected=Expectation(
            checks=(
                VMLAUNCH_fails_with_error_7,
                no_processor_is_left_in_VMX_operation,
            )
        ),
        ends="VMLAUNCH fails with error 7, and nothing is left behind",
    ),
    fixed=Case(
        drivers=("driver/hypervisor_system.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        unload=True,
        ends="the hypervisor comes and goes",
    ),
)
