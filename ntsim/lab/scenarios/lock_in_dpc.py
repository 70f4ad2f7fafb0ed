"""A DPC acquires the push lock that threads guard a list with."""

from ntsim.lab.checks import on_stack, parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="lock-in-dpc",
    summary="A DPC acquires the push lock that threads guard a list with.",
    story=(
        "Threads guard the list of clients with a push lock. When a connection breaks a DPC takes "
        "the client out, and acquires the lock as everybody does. Whoever holds it may be the "
        "thread that the DPC has interrupted, and a DPC cannot wait."
    ),
    look_at="driver/crashes/lock_in_dpc.py, RemoveClient; then the same with --fixed.",
    source="https://github.com/nefarius/BthPS3/issues/2",
    case=Case(
        drivers=("driver/crashes/lock_in_dpc.py",),
        apps=("userapp/crash_app.py",),
        expected=Expectation(
            code=0x192,
            checks=(
                parameter(3, 2, "DISPATCH_LEVEL"),
                on_stack("RemoveClient"),
            ),
        ),
        ends="bug check 0x192 in the DPC",
    ),
    fixed=Case(
        drivers=("driver/crashes/lock_in_dpc_fixed.py",),
        apps=("userapp/crash_app.py",),
        unload=True,
        ends="a spin lock guards what a DPC uses, too",
    ),
)
