"""A text is one byte longer than the block that it is copied into."""

from ntsim.lab.checks import on_stack, parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="written-past-the-end",
    summary="A text is one byte longer than the block that it is copied into.",
    story=(
        "A block of 615 bytes takes 624, and a text of 615 characters with its null takes 616. "
        "The byte too many is nobody's, and nothing happens, until the text has another length. "
        "Special pool fills those bytes with a pattern, which is looked at when the block is "
        "freed."
    ),
    look_at="driver/crashes/written_past_the_end.py, KeepName; then the same with --fixed.",
    source="https://github.com/nmap/npcap/issues/308 (parameter 4 was 0x21 there)",
    case=Case(
        drivers=("driver/crashes/written_past_the_end.py",),
        apps=("userapp/crash_app.py",),
        verifier="standard",
        expected=Expectation(
            code=0xC1,
            checks=(
                parameter(3, 615, "the size of the block"),
                parameter(4, 0x24, "bytes after the block were written"),
                on_stack("DeviceControl"),
            ),
        ),
        ends="bug check 0xc1 when the block is freed",
    ),
    fixed=Case(
        drivers=("driver/crashes/written_past_the_end_fixed.py",),
        apps=("userapp/crash_app.py",),
        verifier="standard",
        unload=True,
        ends="the null has its place",
    ),
)
