"""The name of the link lies in the INIT section, and is used at unload."""

from ntsim.lab.checks import on_stack, parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="link-in-init",
    summary="The name of the link lies in the INIT section, and is used at unload.",
    story=(
        "What is marked INIT leaves memory when DriverEntry has returned. The text of the link's "
        "name is marked so, because DriverEntry alone needs it. But a UNICODE_STRING keeps its "
        "address, and DriverUnload hands that to IoDeleteSymbolicLink."
    ),
    look_at="driver/c/link_in_init.c, LinkText; then the same with --fixed.",
    source="https://github.com/xinali/articles/issues/32",
    case=Case(
        drivers=("driver/c/link_in_init.sys",),
        apps=("userapp/crash_app.py",),
        unload=True,
        expected=Expectation(
            code=0x50,
            checks=(
                parameter(2, 0, "a read"),
                parameter(4, 2, "nothing is mapped"),
                on_stack("IoDeleteSymbolicLink"),
            ),
        ),
        ends="bug check 0x50 at unload",
    ),
    fixed=Case(
        drivers=("driver/c/link_in_init_fixed.sys",),
        apps=("userapp/crash_app.py",),
        unload=True,
        ends="the text stays as long as the driver",
    ),
)
