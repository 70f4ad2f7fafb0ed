"""ZwClose between ExAcquireFastMutex and ExReleaseFastMutex."""

from ntsim.lab.checks import on_stack, parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="close-holding-a-fast-mutex",
    summary="ZwClose between ExAcquireFastMutex and ExReleaseFastMutex.",
    story=(
        "A fast mutex raises to APC_LEVEL. Closing a handle may run whatever the object's type "
        "wants at PASSIVE_LEVEL, so ZwClose must not be called there. Without Driver Verifier "
        "nothing is noticed, on most days."
    ),
    look_at=(
        "driver/crashes/close_holding_a_fast_mutex.py, CountSharedMemory; then the same with "
        "--fixed."
    ),
    source="https://github.com/0vercl0k/sic/issues/4",
    case=Case(
        drivers=("driver/crashes/close_holding_a_fast_mutex.py",),
        apps=("userapp/crash_app.py",),
        verifier="standard",
        expected=Expectation(
            code=0xC4,
            checks=(
                parameter(1, 0x2001F, "rule IrqlZwPassive"),
                parameter(4, 0, "as in the dump"),
                on_stack("CountSharedMemory"),
            ),
        ),
        ends="bug check 0xc4 at ZwClose",
    ),
    fixed=Case(
        drivers=("driver/crashes/close_holding_a_fast_mutex_fixed.py",),
        apps=("userapp/crash_app.py",),
        verifier="standard",
        unload=True,
        ends="the handle is closed after the mutex is released",
    ),
)
