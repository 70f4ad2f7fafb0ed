"""Code is patched where it stands, and code is read-only."""

from ntsim.lab.checks import on_stack, parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="write-to-code",
    summary="Code is patched where it stands, and code is read-only.",
    story=(
        "A driver changes a byte of another one's routine, as a boot kit does with the kernel's. "
        "The page may be read and executed, and CR0.WP makes that hold for the kernel. The second "
        "parameter is the page table entry that says so."
    ),
    look_at="driver/crashes/write_to_code.py, Patch; then the same with --fixed.",
    source="https://github.com/Mattiwatti/EfiGuard/issues/28",
    case=Case(
        drivers=(
            "driver/crashes/hooked.py",
            "driver/crashes/write_to_code.py",
        ),
        apps=("userapp/crash_app.py",),
        expected=Expectation(
            code=0xBE,
            checks=(
                parameter(4, 0xB, "as in the dump"),
                on_stack("Patch"),
            ),
        ),
        ends="bug check 0xbe at the write",
    ),
    fixed=Case(
        drivers=(
            "driver/crashes/hooked.py",
            "driver/crashes/write_to_code_fixed.py",
        ),
        apps=("userapp/crash_app.py",),
        unload=True,
        ends="the byte is written through a second mapping",
    ),
)
