"""An AtDpcLevel routine in a thread: the lock's holder never runs again."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="queued-lock-below-dispatch",
    summary="An AtDpcLevel routine in a thread: the lock's holder never runs again.",
    story=(
        "The AtDpcLevel routines leave the level as it is, and so the thread that holds the lock "
        "can be put aside. A more important thread wants the lock on the same processor: it "
        "spins, and never leaves the processor to the one that would release it."
    ),
    look_at="driver/crashes/queued_lock_below_dispatch.py, Count; then the same with --fixed.",
    source="https://github.com/intel/haxm/pull/48",
    case=Case(
        drivers=("driver/crashes/queued_lock_below_dispatch.py",),
        apps=("userapp/crash_app.py",),
        expected=Expectation(hangs=True),
        ends="hang: one thread spins, the other waits for the processor",
    ),
    fixed=Case(
        drivers=("driver/crashes/queued_lock_below_dispatch_fixed.py",),
        apps=("userapp/crash_app.py",),
        unload=True,
        ends="both threads raise the level with the lock",
    ),
)
