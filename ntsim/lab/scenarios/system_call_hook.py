"""System calls are hooked in KiServiceTable, and patch protection looks there."""

from ntsim.lab.checks import app_says, parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario
from ntsim.nt.mm import layout

SCENARIO = Scenario(
    name="system-call-hook",
    summary="System calls are hooked in KiServiceTable, and patch protection looks there.",
    story=(
        "A driver lets the entry of NtOpenProcess lead to a routine of its own, so that nobody "
        "gets a handle with which to end the process it protects. The app sees that it works. "
        "Minutes later kernel patch protection compares the table with what it was. "
        "ObRegisterCallbacks does the same, and is allowed."
    ),
    look_at="driver/ssdt_hook.py, Hook and HookNtOpenProcess; then the same with --fixed.",
    source="https://github.com/mrexodia/TitanHide/issues/15",
    case=Case(
        drivers=("driver/ssdt_hook.py",),
        apps=("userapp/ssdt_app.py",),
        expected=Expectation(
            code=0x109,
            checks=(
                app_says("OpenProcess failed with 5: I am protected"),
                app_says("asking about me is allowed"),
                parameter(3, layout.KI_SERVICE_TABLE, "nt!KiServiceTable"),
                parameter(4, 0, "a region of generic data"),
            ),
        ),
        ends="bug check 0x109, minutes after the app has ended",
    ),
    fixed=Case(
        drivers=("driver/ssdt_hook_fixed.py",),
        apps=("userapp/ssdt_app.py",),
        unload=True,
        expected=Expectation(checks=(app_says("TerminateProcess failed with 5: I am protected"),)),
        ends="the handle comes without the right to terminate",
    ),
)
