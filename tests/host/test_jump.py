"""Ways out of frames: driver/c/jump.c.

What is expected is what the same C prints on Windows. Source: Microsoft C runtime, longjmp and
setjmp; x64 exception handling, "Language-specific handler"; winnt.h, EXCEPTION_COLLIDED_UNWIND;
Win32, RtlRestoreContext (records of longjmp and of C++).
"""

from pathlib import Path

import pytest

JUMP = Path(__file__).parents[2] / "driver/c/jump.sys"

BLOCKS = {
    "longjmp": ["left by longjmp: 1", "jumped: 700001234"],
    "longjmp with 0": ["left by longjmp: 1", "jumped: 100001234"],
    "setjmp without a frame": ["without a frame: 300001234"],
    "out of a filter": ["a filter jumps", "below the filter", "from a filter: 400001234"],
    "out of a termination handler": [
        "a termination handler jumps",
        "and further out",
        "from a termination handler: 500001234",
    ],
    "an exception out of a termination handler that an own handler calls": [
        "own handler, unwind: from 0, 80000011",
        "raising: 1",
        "own handler, unwind: collided from 1, c000003e",
        "outer: 1",
        "collided: c000003e",
    ],
    "an exception out of one that longjmp runs": [
        "left by longjmp: 1",
        "own handler, unwind: from 0, 80000026",
        "raising: 1",
        "own handler, unwind: collided from 1, c000003e",
        "outer: 1",
        "instead of the jump: c000003e",
        "through: 0",
    ],
    "C++": ["before the catch block", "catch block: 80000029, 55", "consolidated: 600000000"],
    "RtlUnwindEx to nowhere": ["no such frame: c0000029"],
    "RtlRestoreContext with a jump buffer": ["restored: 800001234"],
}


@pytest.mark.parametrize("seed", [0, 6])
def test_jumps_and_collided_unwinds_run_each_termination_handler_once(ntsim_machine, seed) -> None:
    machine = ntsim_machine(seed=seed)
    machine.load_driver(JUMP)
    assert machine.debug_output == [line for block in BLOCKS.values() for line in block]
