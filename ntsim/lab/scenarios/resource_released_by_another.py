"""One thread acquires an ERESOURCE, a worker thread releases it."""

from ntsim.lab.checks import on_stack, parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="resource-released-by-another",
    summary="One thread acquires an ERESOURCE, a worker thread releases it.",
    story=(
        "A read acquires the file's resource and is finished in a work item, which releases it. A "
        "resource belongs to the thread that acquired it, and the worker is another."
    ),
    look_at=(
        "driver/crashes/resource_released_by_another.py, ReadFile and FinishRead; then the same "
        "with --fixed."
    ),
    source="https://github.com/HARM4Y/FOKS-TROT/issues/41",
    case=Case(
        drivers=("driver/crashes/resource_released_by_another.py",),
        apps=("userapp/crash_app.py",),
        expected=Expectation(
            code=0xE3,
            checks=(
                parameter(3, 0, "there is no owner table"),
                parameter(4, 2, "as in the dump: the resource is not owned exclusively"),
                on_stack("FinishRead"),
            ),
        ),
        ends="bug check 0xe3 in the work item",
    ),
    fixed=Case(
        drivers=("driver/crashes/resource_released_by_another_fixed.py",),
        apps=("userapp/crash_app.py",),
        unload=True,
        ends="the work item acquires what it releases",
    ),
)
