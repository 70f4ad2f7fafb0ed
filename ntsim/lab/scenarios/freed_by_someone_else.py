"""A pool manager frees at the end what somebody has freed behind its back."""

from ntsim.lab.checks import on_stack, parameter, parameter_is_pool
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="freed-by-someone-else",
    summary="A pool manager frees at the end what somebody has freed behind its back.",
    story=(
        "Buffers are allocated in advance, for places where nothing can be allocated. Each has a "
        "flag that says whether it is gone. One user frees its buffer directly, the flag stays "
        "clear, and unloading frees the buffer again."
    ),
    look_at=(
        "driver/crashes/freed_by_someone_else.py, RemoveHook and PoolManagerUninitialize; then "
        "the same with --fixed."
    ),
    source="https://github.com/HyperDbg/HyperDbg/issues/183",
    case=Case(
        drivers=("driver/crashes/freed_by_someone_else.py",),
        apps=("userapp/crash_app.py",),
        expected=Expectation(
            code=0xC2,
            checks=(
                parameter(1, 7, "freed already"),
                parameter_is_pool(4, "the buffer"),
                on_stack("PoolManagerUninitialize"),
            ),
        ),
        ends="bug check 0xc2 when the pool manager goes",
    ),
    fixed=Case(
        drivers=("driver/crashes/freed_by_someone_else_fixed.py",),
        apps=("userapp/crash_app.py",),
        unload=True,
        ends="the manager frees what it has given out",
    ),
)
