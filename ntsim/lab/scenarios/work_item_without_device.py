"""A timer's DPC allocates a work item for a device that does not exist."""

from ntsim.lab.checks import on_stack, parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="work-item-without-device",
    summary="A timer's DPC allocates a work item for a device that does not exist.",
    story=(
        "The driver's timer runs from DriverEntry on, its device comes and goes. In between "
        "DriverObject.DeviceObject is NULL, and IoAllocateWorkItem looks at the type of the "
        "object that it is given. In a DPC no page fault can be served."
    ),
    look_at="driver/crashes/work_item_without_device.py, WatchMemory; then the same with --fixed.",
    source="https://github.com/cheat-engine/cheat-engine/issues/1237",
    case=Case(
        drivers=("driver/crashes/work_item_without_device.py",),
        expected=Expectation(
            code=0xA,
            checks=(
                parameter(1, 0, "NULL"),
                parameter(2, 2, "DISPATCH_LEVEL"),
                parameter(3, 0, "a read"),
                on_stack("IoAllocateWorkItem"),
                on_stack("WatchMemory"),
            ),
        ),
        ends="bug check 0xa in IoAllocateWorkItem",
    ),
    fixed=Case(
        drivers=("driver/crashes/work_item_without_device_fixed.py",),
        unload=True,
        ends="the work item belongs to a device",
    ),
)
