"""A pointer that nobody has set yet is followed with a spin lock held."""

from ntsim.lab.checks import app_says, on_stack, parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def parameter_1_is_a_small_offset_from_NULL(facts: Facts) -> bool:
    return facts.parameters[0] < 0x1000


SCENARIO = Scenario(
    name="null-context-at-dispatch",
    summary="A pointer that nobody has set yet is followed with a spin lock held.",
    story=(
        "An app starts a handle before it initializes it. The context is NULL, and nobody asks. "
        "Under a spin lock, at DISPATCH_LEVEL, a page fault cannot be served and no exception "
        "handler is asked: bug check."
    ),
    look_at="driver/crashes/null_context_at_dispatch.py, Startup; then the same with --fixed.",
    source="https://github.com/basil00/WinDivert/issues/330",
    case=Case(
        drivers=("driver/crashes/null_context_at_dispatch.py",),
        apps=("userapp/crash_app.py",),
        expected=Expectation(
            code=0xD1,
            checks=(
                parameter_1_is_a_small_offset_from_NULL,
                parameter(2, 2, "DISPATCH_LEVEL"),
                parameter(3, 1, "a write"),
                on_stack("Startup"),
            ),
        ),
        ends="bug check 0xd1 at the NULL pointer",
    ),
    fixed=Case(
        drivers=("driver/crashes/null_context_at_dispatch_fixed.py",),
        apps=("userapp/crash_app.py",),
        unload=True,
        expected=Expectation(checks=(app_says("start failed:"),)),
        ends="the app is told that it is too early",
    ),
)
