"""The test before KeRaiseIrqlToDpcLevel is the wrong way round."""

from ntsim.lab.checks import on_stack, parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="raised-the-wrong-way",
    summary="The test before KeRaiseIrqlToDpcLevel is the wrong way round.",
    story=(
        "If the level is above DISPATCH_LEVEL, raise it to DISPATCH_LEVEL: the test stands the "
        "wrong way round. In a thread nothing is raised, and nobody notices. On the way through "
        "an IPI raising lowers the level. Free builds do it without a word; Driver Verifier "
        "stops."
    ),
    look_at="driver/crashes/raised_the_wrong_way.py, PrepareProcessor; then the same with --fixed.",
    source="https://github.com/SinaKarvandi/Hypervisor-From-Scratch/issues/32",
    case=Case(
        drivers=("driver/crashes/raised_the_wrong_way.py",),
        apps=("userapp/crash_app.py",),
        verifier="standard",
        expected=Expectation(
            code=0xC4,
            checks=(
                parameter(1, 0x30, "an IRQL below the current one"),
                parameter(2, 14, "the current level"),
                parameter(3, 2, "the level asked for"),
                on_stack("PrepareProcessor"),
            ),
        ),
        ends="bug check 0xc4 at the raise",
    ),
    fixed=Case(
        drivers=("driver/crashes/raised_the_wrong_way_fixed.py",),
        apps=("userapp/crash_app.py",),
        verifier="standard",
        unload=True,
        ends="the level is raised where it is too low",
    ),
)
