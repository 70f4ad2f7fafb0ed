"""A process ends, and pages of it are still locked."""

from ntsim.lab.checks import parameter, parameter_is_pool
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="pages-left-locked",
    summary="A process ends, and pages of it are still locked.",
    story=(
        "A driver locks an app's buffer, sends it, and frees the MDL without unlocking the pages. "
        "Everything works until the app ends: its pages cannot be given to somebody else while "
        "they are locked, and a driver that has forgotten them will never unlock them."
    ),
    look_at="driver/crashes/pages_left_locked.py, SendBuffer; then the same with --fixed.",
    source="https://github.com/wbenny/KSOCKET/issues/2",
    case=Case(
        drivers=("driver/crashes/pages_left_locked.py",),
        apps=("userapp/crash_app.py",),
        expected=Expectation(
            code=0x76,
            checks=(
                parameter(1, 0, "a process that ended"),
                parameter_is_pool(2, "the process"),
                parameter(3, 1, "one page"),
            ),
        ),
        ends="bug check 0x76 when the app ends",
    ),
    fixed=Case(
        drivers=("driver/crashes/pages_left_locked_fixed.py",),
        apps=("userapp/crash_app.py",),
        unload=True,
        ends="the pages are unlocked when they are sent",
    ),
)
