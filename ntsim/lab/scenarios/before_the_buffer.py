"""The eight bytes before a request's buffer are written."""

from ntsim.lab.checks import on_stack, parameter, parameter_is_pool
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="before-the-buffer",
    summary="The eight bytes before a request's buffer are written.",
    story=(
        "A driver puts a length in front of the data, and the data begins where the buffer does. "
        "Before it is the pool's header, with the process whose quota pays for the block. The I/O "
        "manager frees the buffer when the request is done, and gives the quota back to whatever "
        "stands there."
    ),
    look_at="driver/crashes/before_the_buffer.py, BuildMessage; then the same with --fixed.",
    source="https://github.com/cezanne/usbip-win/issues/69",
    case=Case(
        drivers=("driver/crashes/before_the_buffer.py",),
        apps=("userapp/crash_app.py",),
        expected=Expectation(
            code=0xC2,
            checks=(
                parameter(1, 0xD, "quota of what is no process"),
                parameter_is_pool(2, "the buffer"),
                on_stack("DeviceControl"),
            ),
        ),
        ends="bug check 0xc2 when the request is completed",
    ),
    fixed=Case(
        drivers=("driver/crashes/before_the_buffer_fixed.py",),
        apps=("userapp/crash_app.py",),
        unload=True,
        ends="the length is inside the buffer",
    ),
)
