"""A cached block is freed when it is put back, and again at the end."""

from ntsim.lab.checks import on_stack, parameter, parameter_is_pool
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="freed-twice",
    summary="A cached block is freed when it is put back, and again at the end.",
    story=(
        "A journal keeps its blocks in a table. Putting one back frees it and leaves its address "
        "in the table; at the end everything in the table is freed. Nothing happens in between, "
        "so the stack of the crash shows the innocent half of the mistake."
    ),
    look_at="driver/crashes/freed_twice.py, PutBlock; then the same with --fixed.",
    source="https://github.com/matt-wu/Ext3Fsd/issues/8",
    case=Case(
        drivers=("driver/crashes/freed_twice.py",),
        apps=("userapp/crash_app.py",),
        expected=Expectation(
            code=0xC2,
            checks=(
                parameter(1, 7, "freed already"),
                parameter(2, 0x4A424B43, "the tag of the block, as in the dump"),
                parameter_is_pool(4, "the block"),
                on_stack("JournalDestroy"),
            ),
        ),
        ends="bug check 0xc2 when the journal is destroyed",
    ),
    fixed=Case(
        drivers=("driver/crashes/freed_twice_fixed.py",),
        apps=("userapp/crash_app.py",),
        unload=True,
        ends="the blocks are freed once each",
    ),
)
