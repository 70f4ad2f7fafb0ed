"""Memory with an ERESOURCE in it is freed without ExDeleteResourceLite."""

from ntsim.lab.checks import on_stack, parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="resource-freed-undeleted",
    summary="Memory with an ERESOURCE in it is freed without ExDeleteResourceLite.",
    story=(
        "All resources of the system are in one list. A file system frees a node and leaves its "
        "resource in the list; the memory gets another owner. The crash comes with a resource "
        "that had its place beside the lost one, and that may be anybody's."
    ),
    look_at="driver/crashes/resource_freed_undeleted.py, FreeNode; then the same with --fixed.",
    source="https://github.com/openzfsonwindows/ZFSin/issues/87",
    case=Case(
        drivers=("driver/crashes/resource_freed_undeleted.py",),
        apps=("userapp/crash_app.py",),
        expected=Expectation(
            code=0x139,
            checks=(
                parameter(1, 3, "a corrupt list entry"),
                on_stack("ExDeleteResourceLite"),
                on_stack("DestroyNode"),
            ),
        ),
        ends="bug check 0x139 in ExDeleteResourceLite, for another resource",
    ),
    fixed=Case(
        drivers=("driver/crashes/resource_freed_undeleted_fixed.py",),
        apps=("userapp/crash_app.py",),
        unload=True,
        ends="each node's resource is deleted before the node is freed",
    ),
)
