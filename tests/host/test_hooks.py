"""driver/c/hook.c: code rewritten through a second mapping runs as it is now, and an export's body
can be copied and patched.

`memmove` of the kernel writes, so nothing tells the engine but the mapping.
"""

from contextlib import nullcontext
from pathlib import Path

import pytest

from ntsim.hw.engine import hostcode

HOOK = Path(__file__).parents[2] / "driver/c/hook.sys"


def test_code_that_a_kernel_routine_has_rewritten_is_what_runs(ntsim_machine) -> None:
    machine = ntsim_machine()
    machine.load_driver(HOOK)
    assert machine.debug_output == [
        "before: 2",
        "rewritten: 1, 7",
        "again: 1, 8",
        "body: the import's",
        "hooked: 2 calls, time goes on",
    ]


@pytest.mark.parametrize("mode", [nullcontext, hostcode.forbidden])
@pytest.mark.parametrize("seed", [0, 4])
def test_code_in_pool_that_the_kernel_writes_anew_runs_as_it_is_now(
    ntsim_machine, seed, mode
) -> None:
    with mode():
        machine = ntsim_machine(seed=seed)
        machine.load_driver(HOOK.with_name("thunk.sys"))
    assert machine.debug_output == ["called: 123456789"]
