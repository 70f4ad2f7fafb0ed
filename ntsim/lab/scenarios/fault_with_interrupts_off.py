"""Paged pool is touched with interrupts off, on the way into VMX operation."""

from ntsim.lab.checks import on_stack, parameter, parameter_is_pool
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="fault-with-interrupts-off",
    summary="Paged pool is touched with interrupts off, on the way into VMX operation.",
    story=(
        "VMXON to VMLAUNCH belong to one processor, and a driver turns interrupts off so that "
        "nothing comes between. In there it copies into a log from paged pool. No page fault can "
        "be served now, and the IRQL of the report is none: 0xff."
    ),
    look_at=(
        "driver/crashes/fault_with_interrupts_off.py, StartAndStop; then the same with --fixed."
    ),
    source="https://github.com/DarthTon/HyperBone/issues/36 (parameter 3 was 0xf5 there)",
    case=Case(
        drivers=("driver/crashes/fault_with_interrupts_off.py",),
        apps=("userapp/crash_app.py",),
        expected=Expectation(
            code=0xA,
            checks=(
                parameter_is_pool(1, "the log"),
                parameter(2, 0xFF, "interrupts were off"),
                parameter(3, 1, "a write"),
                on_stack("StartAndStop"),
            ),
        ),
        ends="bug check 0xa with IRQL 0xff",
    ),
    fixed=Case(
        drivers=("driver/crashes/fault_with_interrupts_off_fixed.py",),
        apps=("userapp/crash_app.py",),
        unload=True,
        ends="the log is nonpaged",
    ),
)
