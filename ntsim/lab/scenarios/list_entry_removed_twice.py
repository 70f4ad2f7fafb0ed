"""RemoveEntryList twice for the same entry."""

from ntsim.lab.checks import on_stack, parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="list-entry-removed-twice",
    summary="RemoveEntryList twice for the same entry.",
    story=(
        "A request is taken off the list when it is done; the routine that frees it takes it off "
        "once more. Its neighbours do not point to it any more, and the check in RemoveEntryList "
        "stops the system before a link is written into the wrong place."
    ),
    look_at="driver/crashes/list_entry_removed_twice.py, FreeRequest; then the same with --fixed.",
    source="https://github.com/maharmstone/btrfs/pull/13",
    case=Case(
        drivers=("driver/crashes/list_entry_removed_twice.py",),
        apps=("userapp/crash_app.py",),
        expected=Expectation(
            code=0x139,
            checks=(
                parameter(1, 3, "a corrupt list entry"),
                on_stack("FreeRequest"),
            ),
        ),
        ends="bug check 0x139 in the second removal",
    ),
    fixed=Case(
        drivers=("driver/crashes/list_entry_removed_twice_fixed.py",),
        apps=("userapp/crash_app.py",),
        unload=True,
        ends="every request is done and freed",
    ),
)
