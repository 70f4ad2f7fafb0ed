"""A request goes through filters until the kernel stack is full."""

from ntsim.lab.checks import on_stack, parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="stack-exhausted",
    summary="A request goes through filters until the kernel stack is full.",
    story=(
        "A thread has 24 KB of kernel stack for all that a system call leads to. Each of the "
        "filters that a request passes through has a path name of a kilobyte among its local "
        "variables. Three of them work well; with twenty-four there is no stack left, not even to "
        "report that."
    ),
    look_at="driver/crashes/stack_exhausted.py, LookAtName; then the same with --fixed.",
    source="https://github.com/dokan-dev/dokany/issues/944",
    case=Case(
        drivers=("driver/crashes/stack_exhausted.py",),
        apps=("userapp/crash_app.py",),
        expected=Expectation(
            code=0x7F,
            checks=(
                parameter(1, 8, "a double fault"),
                on_stack("LookAtName"),
            ),
        ),
        ends="bug check 0x7f, a double fault",
    ),
    fixed=Case(
        drivers=("driver/crashes/stack_exhausted_fixed.py",),
        apps=("userapp/crash_app.py",),
        unload=True,
        ends="the path names are in pool",
    ),
)
