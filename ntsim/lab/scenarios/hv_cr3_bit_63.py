"""The value of a MOV to CR3 goes into GUEST_CR3 as it is."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def parameter_1_is_the_exit_reason(facts: Facts) -> bool:
    """Parameter 1 is the exit reason: a failed entry, invalid guest state."""
    return facts.parameters[0] == 0x80000021


SCENARIO = Scenario(
    name="hv-cr3-bit-63",
    summary=("The value of a MOV to CR3 goes into GUEST_CR3 as it is."),
    story=(
        "A kernel with page-table isolation sets bit 63 of what it loads into CR3. The exit hands "
        "the register over, bit included, and the next VM entry fails: invalid guest state."
    ),
    look_at="driver/hypervisor_crashes/ddimon_20.py; then the same with --fixed.",
    source=(
        "https://github.com/tandasat/DdiMon/issues/20; DarthTon/HyperBone issue 32 ends the same "
        "way."
    ),
    case=Case(
        drivers=("driver/hypervisor_crashes/ddimon_20.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        expected=Expectation(code=0x20001, checks=(parameter_1_is_the_exit_reason,)),
        ends="VM entry fails, reason 33, and the driver stops the system",
    ),
    fixed=Case(
        drivers=("driver/hypervisor_crashes/ddimon_20_fixed.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        unload=True,
        ends="the hypervisor comes and goes",
    ),
)
