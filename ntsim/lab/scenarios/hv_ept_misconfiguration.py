"""An EPT entry that may be written but not read."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def parameter_1_is_the_exit_reason(facts: Facts) -> bool:
    """Parameter 1, from the driver, is the exit reason: 49, EPT misconfiguration."""
    return facts.parameters[0] == 0x31


SCENARIO = Scenario(
    name="hv-ept-misconfiguration",
    summary=("An EPT entry that may be written but not read."),
    story=(
        "To see every read of a page the driver takes its right to read and leaves the right to "
        "write. That is no violation to wait for but a misconfiguration, exit reason 49."
    ),
    look_at="driver/hypervisor_crashes/libvmi_120.py; then the same with --fixed.",
    source="https://github.com/libvmi/libvmi/pull/120",
    case=Case(
        drivers=("driver/hypervisor_crashes/libvmi_120.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        expected=Expectation(code=0x20001, checks=(parameter_1_is_the_exit_reason,)),
        ends="the driver stops the system: exit reason 49",
    ),
    fixed=Case(
        drivers=("driver/hypervisor_system.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        unload=True,
        ends="the hypervisor comes and goes",
    ),
)
