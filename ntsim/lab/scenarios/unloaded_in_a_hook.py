"""A driver is unloaded while a thread is in the routine that it hooked in."""

from ntsim.lab.checks import app_says, on_stack, parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="unloaded-in-a-hook",
    summary="A driver is unloaded while a thread is in the routine that it hooked in.",
    story=(
        "A driver puts a routine of its own into another driver's dispatch table, and takes it "
        "out at unload. That keeps new calls away. A thread that waits in the routine already "
        "wakes up in code that is gone."
    ),
    look_at="driver/crashes/unloaded_in_a_hook.py, Unload; then the same with --fixed.",
    source="https://github.com/everdox/InfinityHook/issues/9",
    case=Case(
        drivers=(
            "driver/crashes/hooked.py",
            "driver/crashes/unloaded_in_a_hook.py",
        ),
        apps=("userapp/service_app.py",),
        arguments=("unloaded_in_a_hook",),
        expected=Expectation(
            code=0xCE,
            checks=(
                parameter(2, 0x10, "an instruction fetch"),
                parameter(4, 0, "as in the dump"),
                on_stack("Hook"),
            ),
        ),
        ends="bug check 0xce when the thread goes on",
    ),
    fixed=Case(
        drivers=(
            "driver/crashes/hooked.py",
            "driver/crashes/unloaded_in_a_hook_fixed.py",
        ),
        apps=("userapp/service_app.py",),
        arguments=("unloaded_in_a_hook_fixed",),
        unload=True,
        expected=Expectation(checks=(app_says("sent"),)),
        ends="unload waits until nobody is in the hook",
    ),
)
