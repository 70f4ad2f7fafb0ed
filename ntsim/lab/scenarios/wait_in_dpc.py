"""A DPC waits for what a thread has, under stress only."""

from ntsim.lab.checks import on_stack, parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="wait-in-dpc",
    summary="A DPC waits for what a thread has, under stress only.",
    story=(
        "A timer's DPC and the app's thread share a table, and both wait for the event that "
        "guards it. While it is free the wait in the DPC is none. Then the timer expires in the "
        "middle of the thread's work: a DPC cannot be put aside until the thread is done."
    ),
    look_at="driver/crashes/wait_in_dpc.py, CleanTable; then the same with --fixed.",
    source="https://github.com/microsoft/ebpf-for-windows/issues/2275",
    case=Case(
        drivers=("driver/crashes/wait_in_dpc.py",),
        apps=("userapp/crash_app.py",),
        expected=Expectation(
            code=0xB8,
            checks=(
                parameter(4, 0, "as in the dump"),
                on_stack("CleanTable"),
            ),
        ),
        ends="bug check 0xb8 in the timer's DPC",
    ),
    fixed=Case(
        drivers=("driver/crashes/wait_in_dpc_fixed.py",),
        apps=("userapp/crash_app.py",),
        unload=True,
        ends="a DPC that finds the table busy leaves it for the next time",
    ),
)
