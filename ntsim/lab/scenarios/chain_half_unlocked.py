"""Of a chain of MDLs only the first is unlocked, and the memory is freed."""

from ntsim.lab.checks import on_stack, parameter
from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="chain-half-unlocked",
    summary="Of a chain of MDLs only the first is unlocked, and the memory is freed.",
    story=(
        "A transfer has two buffers, and the second one's MDL hangs on the first by Next. "
        "Afterwards the first is unlocked and freed. The second's pages stay locked when its "
        "memory is freed: a page with a reference to it must not go to another owner."
    ),
    look_at="driver/crashes/chain_half_unlocked.py, Unlock; then the same with --fixed.",
    source="https://github.com/openzfsonwindows/ZFSin/pull/227",
    case=Case(
        drivers=("driver/crashes/chain_half_unlocked.py",),
        apps=("userapp/crash_app.py",),
        expected=Expectation(
            code=0x4E,
            checks=(
                parameter(1, 0x9A, "a page that is locked was freed"),
                parameter(3, 6, "the state of a page in use, as in the dump"),
                parameter(4, 2, "its reference count, as in the dump"),
                on_stack("Transfer"),
            ),
        ),
        ends="bug check 0x4e when the second buffer is freed",
    ),
    fixed=Case(
        drivers=("driver/crashes/chain_half_unlocked_fixed.py",),
        apps=("userapp/crash_app.py",),
        unload=True,
        ends="every MDL of the chain is unlocked",
    ),
)
