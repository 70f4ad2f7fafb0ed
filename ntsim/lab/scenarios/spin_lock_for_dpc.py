"""KeAcquireSpinLockForDpc in a thread: its own processor's DPC spins for ever."""

from ntsim.lab.checks import on_stack, parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="spin-lock-for-dpc",
    summary="KeAcquireSpinLockForDpc in a thread: its own processor's DPC spins for ever.",
    story=(
        "KeAcquireSpinLockForDpc serves DPCs of both kinds, and in a thread it raises nothing. A "
        "DPC interrupts the thread that holds the lock, wants it too, and the thread cannot go on "
        "until the DPC is done."
    ),
    look_at="driver/crashes/spin_lock_for_dpc.py, AddEntries; then the same with --fixed.",
    source="https://github.com/openzfsonwindows/ZFSin/pull/221",
    case=Case(
        drivers=("driver/crashes/spin_lock_for_dpc.py",),
        apps=("userapp/crash_app.py",),
        expected=Expectation(
            code=0x133,
            checks=(
                parameter(1, 0, "a single DPC"),
                parameter(3, 0x500, "ticks it may run"),
                on_stack("ExpireEntries"),
            ),
        ),
        ends="bug check 0x133: the DPC spins for the lock of the thread below it",
    ),
    fixed=Case(
        drivers=("driver/crashes/spin_lock_for_dpc_fixed.py",),
        apps=("userapp/crash_app.py",),
        unload=True,
        ends="the thread is at DISPATCH_LEVEL with the lock",
    ),
)
