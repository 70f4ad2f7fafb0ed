"""An early return skips KeLeaveCriticalRegion."""

from ntsim.lab.checks import app_says, parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario
from ntsim.nt.mm import layout


def parameter_1_is_a_user_mode_address_in_ntdll(facts: Facts) -> bool:
    """Parameter 1 is the user-mode return address of the system call."""
    address = facts.parameters[0]
    inside = facts.symbol_at(address) == "ntdll!NtDeviceIoControlFile"
    return inside and layout.is_user_address(address)


def parameter_4_is_a_kernel_address(facts: Facts) -> bool:
    """Parameter 4 points into the trap frame, as in the dump."""
    return not layout.is_user_address(facts.parameters[3])


def no_frame_of_the_driver_is_on_the_stack(facts: Facts) -> bool:
    return not any(name.startswith("critical_region") for name in facts.stack)


SCENARIO = Scenario(
    name="critical-region-not-left",
    summary="An early return skips KeLeaveCriticalRegion.",
    story=(
        "A driver looks up a process with a resource acquired, inside a critical region. If it "
        "does not know the process it returns early, and normal kernel APCs stay disabled. The "
        "bug check comes at the return to user mode: it names ntdll, and the driver is not on the "
        "stack."
    ),
    look_at="driver/crashes/critical_region_not_left.py, FindProcess; then the same with --fixed.",
    source="https://github.com/winsiderss/systeminformer/issues/1779",
    case=Case(
        drivers=("driver/crashes/critical_region_not_left.py",),
        apps=("userapp/crash_app.py",),
        expected=Expectation(
            code=0x1,
            checks=(
                parameter_1_is_a_user_mode_address_in_ntdll,
                parameter(2, 0, "the APC state index"),
                parameter(3, 0xFFFF, "a kernel APC disable count of -1"),
                parameter_4_is_a_kernel_address,
                no_frame_of_the_driver_is_on_the_stack,
            ),
        ),
        ends="bug check 0x1 when the request returns",
    ),
    fixed=Case(
        drivers=("driver/crashes/critical_region_not_left_fixed.py",),
        apps=("userapp/crash_app.py",),
        unload=True,
        expected=Expectation(checks=(app_says("stop failed:"),)),
        ends="the app is told that the process is not known",
    ),
)
