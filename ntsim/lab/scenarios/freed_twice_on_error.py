"""An error path frees what its caller frees as well."""

from ntsim.lab.checks import app_says, on_stack, parameter, parameter_is_pool
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="freed-twice-on-error",
    summary="An error path frees what its caller frees as well.",
    story=(
        "An app wants a trace buffer of 6000 bytes, which is no multiple of a page. The routine "
        "that refuses cleans up, and so does the routine that called it. Only a wrong size gets "
        "there, which no test had."
    ),
    look_at="driver/crashes/freed_twice_on_error.py, AllocatePtBuffer; then the same with --fixed.",
    source="https://github.com/intelpt/WindowsIntelPT/issues/5",
    case=Case(
        drivers=("driver/crashes/freed_twice_on_error.py",),
        apps=("userapp/crash_app.py",),
        expected=Expectation(
            code=0xC2,
            checks=(
                parameter(1, 7, "freed already"),
                parameter_is_pool(4, "the descriptor"),
                on_stack("TraceOnce"),
            ),
        ),
        ends="bug check 0xc2 on the error path",
    ),
    fixed=Case(
        drivers=("driver/crashes/freed_twice_on_error_fixed.py",),
        apps=("userapp/crash_app.py",),
        unload=True,
        expected=Expectation(checks=(app_says("work failed:"),)),
        ends="the app is told that the size is wrong",
    ),
)
