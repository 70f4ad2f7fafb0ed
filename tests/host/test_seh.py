"""Structured exception handling in compiled code: driver/c/seh.c, one block after another.

What is expected is what the same C prints on Windows. Source: Microsoft C/C++, "Structured
Exception Handling"; x64 exception handling.
"""

from pathlib import Path

import pytest

from ntsim.errors import Hang

SEH = Path(__file__).parents[2] / "driver/c/seh.sys"

BLOCKS = {
    "simple": ["filter: c0000005 at RIP, 10", "simple: c0000005"],
    "finally": ["in", "finally: abnormal 1", "after finally", "in", "finally: abnormal 0"],
    "across frames": ["unwound 1", "unwound 2", "across frames: c00000a3"],
    "nested": ["filter: c0000005 at RIP, 10", "outer", "from a handler: c0000001"],
    "probes": ["probe: c0000005", "probe: 80000002"],
    "locals": ["locals: 21 43"],
    "through the kernel": [
        "filter: 80000011 at RIP, 0",
        "unwound in a callback: 5",
        "through the kernel: 80000011",
    ],
    "continue": ["went on: 7"],
}


@pytest.mark.parametrize("seed", [0, 3])
def test_handlers_filters_and_termination_handlers_run_in_order(ntsim_machine, seed) -> None:
    machine = ntsim_machine(seed=seed)
    machine.load_driver(SEH)
    assert machine.debug_output == [line for block in BLOCKS.values() for line in block]


def test_a_filter_that_goes_on_at_the_same_fault_for_ever_is_a_hang(ntsim_machine) -> None:
    with pytest.raises(Hang, match=r"exception 0xc0000005 at forgive!.* changes nothing"):
        ntsim_machine().load_driver(SEH.with_name("forgive.sys"))
