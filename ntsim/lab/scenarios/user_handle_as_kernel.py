"""A handle that an app passed is referenced as KernelMode."""

from ntsim.lab.checks import on_stack, parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def parameter_2_is_the_apps_handle(facts: Facts) -> bool:
    """Parameter 2 is a user-mode handle: no kernel handle, a multiple of 4."""
    return 0 < facts.parameters[1] < 1 << 31 and facts.parameters[1] % 4 == 0


SCENARIO = Scenario(
    name="user-handle-as-kernel",
    summary="A handle that an app passed is referenced as KernelMode.",
    story=(
        "An app passes the handle of an event for the driver to signal. With KernelMode no access "
        "right is asked for, and the app may replace the handle between two uses. Windows does as "
        "it is told; Driver Verifier does not."
    ),
    look_at="driver/crashes/user_handle_as_kernel.py, SignalApp; then the same with --fixed.",
    source="https://github.com/winsiderss/systeminformer/issues/275",
    case=Case(
        drivers=("driver/crashes/user_handle_as_kernel.py",),
        apps=("userapp/crash_app.py",),
        verifier="standard",
        expected=Expectation(
            code=0xC4,
            checks=(
                parameter(1, 0xF6, "a user-mode handle used as kernel mode"),
                parameter_2_is_the_apps_handle,
                on_stack("SignalApp"),
            ),
        ),
        ends="bug check 0xc4 at ObReferenceObjectByHandle",
    ),
    fixed=Case(
        drivers=("driver/crashes/user_handle_as_kernel_fixed.py",),
        apps=("userapp/crash_app.py",),
        verifier="standard",
        unload=True,
        ends="the handle is checked as the app's and its event signalled",
    ),
)
