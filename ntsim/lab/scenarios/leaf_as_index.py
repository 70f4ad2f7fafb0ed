"""A CPUID leaf is used as an array index as it is."""

from ntsim.lab.checks import on_stack, parameter, parameter_in_driver
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="leaf-as-index",
    summary="A CPUID leaf is used as an array index as it is.",
    story=(
        "A driver caches the answers of CPUID. The extended leaves begin at 0x80000000, and so "
        "does the index: the write goes 32 GB past the table. With luck nothing is mapped there."
    ),
    look_at="driver/crashes/leaf_as_index.py, CacheExtendedLeaves; then the same with --fixed.",
    source="https://github.com/Zero-Tang/NoirVisor/issues/2",
    case=Case(
        drivers=("driver/crashes/leaf_as_index.py",),
        apps=("userapp/crash_app.py",),
        expected=Expectation(
            code=0xD1,
            checks=(
                parameter(2, 2, "DISPATCH_LEVEL"),
                parameter(3, 1, "a write"),
                parameter_in_driver(4, "CacheExtendedLeaves", "the instruction"),
                on_stack("CacheExtendedLeaves"),
            ),
        ),
        ends="bug check 0xd1 at the write",
    ),
    fixed=Case(
        drivers=("driver/crashes/leaf_as_index_fixed.py",),
        apps=("userapp/crash_app.py",),
        unload=True,
        ends="the answers are where they belong",
    ),
)
